"""Reports: tables, figures and HTML pages about runs and noise models.

matplotlib is imported only when a figure is drawn, and pyplot never: importing this package is
cheap, and drawing changes no global state.
"""
