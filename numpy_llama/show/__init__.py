"""A run of the model, shown: the trace of a prompt as one page that needs nothing else.

run.py runs the prompt with every tap on; source.py finds the lines that computed each tap; facts.py
and choice.py derive what is shown beside the taps; packing.py makes the numbers small; sections.py,
beside.py and page.py write the page, whose looks and scripts are in front/.
"""

from .page import trace_page
from .run import Run, Shown, run_prompt

__all__ = ["Run", "Shown", "run_prompt", "trace_page"]
