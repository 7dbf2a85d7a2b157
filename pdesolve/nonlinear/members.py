"""Some members of a batch: cut out to be solved by themselves, and put back."""

from __future__ import annotations

from dataclasses import dataclass, replace

from torch import Tensor

from pdesolve.nonlinear.least_squares import LeastSquares, Normal
from pdesolve.nonlinear.rows import RowBlock


@dataclass(frozen=True, eq=False)
class Members:
    """Members of a problem: whole samples where rows tie patches, else (sample, patch) pairs.

    Cut out, samples form a smaller batch, and pairs a batch of problems of one patch.

    Arguments:
        chosen: which, (batch, patch) or (batch, 1), boolean.
        shape: (batch, patches) of the problem.
    """

    chosen: Tensor
    shape: tuple[int, int]

    @property
    def whole(self) -> bool:
        """Whether members are whole samples."""
        return self.chosen.shape[1] == 1

    def cut(self, t: Tensor) -> Tensor:
        """The members' part of a tensor that is (batch or 1, patch or 1, ...)."""
        if self.whole:
            return t if t.shape[0] == 1 else t[self.chosen[:, 0]]
        return t.expand(*self.shape, *t.shape[2:])[self.chosen].unsqueeze(1)

    def put(self, onto: Tensor, part: Tensor) -> Tensor:
        """``onto`` with the members' part replaced."""
        if self.whole:
            index = self.chosen[:, 0].nonzero()[:, 0]
            return onto.index_copy(0, index, part)
        found = onto.clone()
        found[self.chosen] = part[:, 0]
        return found

    def problem(self, problem: LeastSquares) -> LeastSquares:
        """The members' rows, and the rows between their patches."""
        rows = tuple(self._rows(block) for block in problem.rows)
        ties = []
        for block in problem.interfaces:  # members are whole samples here
            tied = block.with_tensors([self.cut(t) for t in block.tensors()])
            ties.append(replace(tied, weight=self.cut(block.weight)))
        joint = tuple(replace(block, block=self._rows(block.block)) for block in problem.joint)
        ridge = None if problem.ridge is None else self.cut(problem.ridge)
        return LeastSquares(rows, tuple(ties), ridge, joint=joint)

    def _rows(self, block: RowBlock) -> RowBlock:
        kept = block.with_tensors([self.cut(t) for t in block.tensors()])
        return replace(kept, weight=self.cut(block.weight), constants=tuple(self.cut(t) for t in block.constants))

    def normal(self, normal: Normal) -> Normal:
        """The members' part of a linearisation."""
        gram = normal.gram
        diagonal = self.cut(gram.diagonal)
        coupling = self.cut(gram.coupling) if gram.edges else diagonal[:, :0]
        part = replace(gram, diagonal=diagonal, coupling=coupling)
        return Normal(self.cut(normal.cost), self.cut(normal.gradient), part, self.cut(normal.magnitude))

    def put_normal(self, onto: Normal, part: Normal) -> Normal:
        """A linearisation with the members' part replaced."""
        coupling = self.put(onto.gram.coupling, part.gram.coupling) if onto.gram.edges else onto.gram.coupling
        gram = replace(onto.gram, diagonal=self.put(onto.gram.diagonal, part.gram.diagonal), coupling=coupling)
        return Normal(
            self.put(onto.cost, part.cost),
            self.put(onto.gradient, part.gradient),
            gram,
            self.put(onto.magnitude, part.magnitude),
        )
