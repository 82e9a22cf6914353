"""What a run shows of itself: tables, figures and one HTML page.

matplotlib is imported when a figure is drawn and pyplot never, so that importing this costs nothing
and drawing changes no global state.
"""
