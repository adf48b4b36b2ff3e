package main

import (
	"bytes"
	"image/color"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// draw writes the samples as three lines over the time, each from zero.
func draw(file string, samples []sample) error {
	canvas := vgsvg.New(20*vg.Centimeter, 15*vg.Centimeter)
	paper := vgdraw.New(canvas)
	paper.SetColor(color.White)
	paper.Fill(paper.Rectangle.Path())
	var rows [][]*plot.Plot
	for _, line := range []struct {
		title string
		of    func(sample) float64
	}{
		{"live heap, MB", func(s sample) float64 { return s.heap }},
		{"goroutines", func(s sample) float64 { return float64(s.goroutines) }},
		{"open files", func(s sample) float64 { return float64(s.files) }},
	} {
		p := plot.New()
		p.Title.Text, p.X.Label.Text, p.Y.Min = line.title, "minutes", 0
		points := make(plotter.XYs, len(samples))
		for i, s := range samples {
			points[i] = plotter.XY{X: s.at.Minutes(), Y: line.of(s)}
		}
		l, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		l.Color = color.RGBA{0xcf, 0x22, 0x2e, 0xff}
		p.Add(plotter.NewGrid(), l)
		p.Y.Min = 0
		p.Y.Max *= 1.1
		rows = append(rows, []*plot.Plot{p})
	}
	tiles := vgdraw.Tiles{Rows: len(rows), Cols: 1, PadY: 4 * vg.Millimeter,
		PadTop: 3 * vg.Millimeter, PadBottom: 3 * vg.Millimeter, PadLeft: 3 * vg.Millimeter, PadRight: 6 * vg.Millimeter}
	for i, row := range plot.Align(rows, tiles, paper) {
		rows[i][0].Draw(row[0])
	}
	var svg bytes.Buffer
	if _, err := canvas.WriteTo(&svg); err != nil {
		return err
	}
	// Fonts of the same widths, for where the first is missing.
	text := bytes.ReplaceAll(svg.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif"))
	return os.WriteFile(file, text, 0o644)
}
