"""Reports of studies. Importing the package settles how Jupyter shows a report, at the end of `render`."""

from etudes.reports import render as render
