"""The same work on many rows: folders and files in, files out, on one machine or on Ray.

Ray and PyArrow are imported only where they are used.
"""

from .options import BatchOptions
from .ray_engine import caption_dataset, process_dataset
from .sources.records import Columns

__all__ = ["BatchOptions", "Columns", "caption_dataset", "process_dataset"]
