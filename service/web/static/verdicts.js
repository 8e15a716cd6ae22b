// Bounds of the table of verdicts. Written by `make docs` from
// trainer/schema/verdicts.py.

export const COLLAPSED_STD = 0.1;
export const COLLAPSING_STD = 0.2;
