package main

import (
	"image/color"
	"os"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/utopia-go/pools/bench/rivals"
)

var (
	ink    = color.RGBA{0x24, 0x29, 0x2f, 0xff}
	faint  = color.RGBA{0xd0, 0xd7, 0xde, 0xff}
	accent = color.RGBA{0xcf, 0x22, 0x2e, 0xff}
	grey   = color.RGBA{0x8c, 0x95, 0x9f, 0xff}
)

// dots are one rival's figure in one scenario: a dot and its quartiles.
type dots struct {
	plotter.XYs
	plotter.XErrors
}

// draw writes the picture of the scenarios that are shown: a dot a rival, the
// quartiles as a line through it, on a logarithmic scale, since bars would
// have to begin at nothing.
func (run *Run) draw(file string) error {
	var plots [][]*plot.Plot
	for _, r := range run.Results {
		if r.Scenario.Shown {
			one, err := panel(r)
			if err != nil {
				return err
			}
			if n := len(plots); n > 0 && len(plots[n-1]) < 2 {
				plots[n-1] = append(plots[n-1], one)
			} else {
				plots = append(plots, []*plot.Plot{one})
			}
		}
	}
	if len(plots) == 0 {
		return nil
	}
	width, height := 24*vg.Centimeter, vg.Length(len(plots))*7*vg.Centimeter
	canvas := vgsvg.New(width, height)
	paper := draw.New(canvas)
	paper.SetColor(color.White)
	paper.Fill(paper.Rectangle.Path())
	tiles := draw.Tiles{
		Rows: len(plots), Cols: 2, PadX: 6 * vg.Millimeter, PadY: 6 * vg.Millimeter,
		PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter,
	}
	if last := len(plots) - 1; len(plots[last]) < 2 {
		plots[last] = append(plots[last], nil)
	}
	for i, row := range plot.Align(plots, tiles, paper) {
		for j, place := range row {
			if plots[i][j] != nil {
				plots[i][j].Draw(place)
			}
		}
	}
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(out); err != nil {
		return err
	}
	return out.Close()
}

func panel(r *Result) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = r.Scenario.Title
	p.X.Label.Text = "ns for one use"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, (*draw.TextStyle)(&p.X.Tick.Label), (*draw.TextStyle)(&p.Y.Tick.Label)} {
		style.Color = ink
		style.Font.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size = 11
	p.X.Label.TextStyle.Font.Size = 9
	names := r.names()
	slices.Reverse(names) // the first goes on top
	p.NominalY(names...)
	p.Y.LineStyle.Width, p.Y.Tick.Length = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	p.Add(grid)
	for i, name := range names {
		low, mid, high := quartiles(r.figures(name, Time))
		d := dots{
			plotter.XYs{{X: mid, Y: float64(i)}},
			plotter.XErrors{{Low: mid - low, High: high - mid}},
		}
		paint := grey
		switch {
		case slices.ContainsFunc(rivals.All, func(r rivals.Rival) bool {
			return r.Name == name && (r.Kind == rivals.Ours || r.Kind == rivals.Variant)
		}):
			paint = accent
		case slices.ContainsFunc(rivals.All, func(r rivals.Rival) bool { return r.Name == name && r.Kind == rivals.Library }):
			paint = ink
		}
		spread, err := plotter.NewXErrorBars(d)
		if err != nil {
			return nil, err
		}
		spread.Color = paint
		dot, err := plotter.NewScatter(d)
		if err != nil {
			return nil, err
		}
		dot.GlyphStyle = draw.GlyphStyle{Color: paint, Radius: vg.Points(4), Shape: draw.CircleGlyph{}}
		p.Add(spread, dot)
	}
	return p, nil
}
