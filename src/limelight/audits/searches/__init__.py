"""What the rows of an audit show: evidence, wrong answers, places, marks, related photos, cases."""
