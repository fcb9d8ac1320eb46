"""The parts that figures are drawn with: style, text, lines, panels, labels and tiles."""
