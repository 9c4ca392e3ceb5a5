"""The diagrams of the documentation: laid out in code, kept as Excalidraw files, drawn as SVG, checked."""
