"""Everything that limelight computes, derived again slowly, in float64, from the papers."""
