"""Results as plotly figures. They lay out what the result holds and decide nothing."""
