package main

import (
	"bytes"
	"image/color"
	"io"
	"math"
	"slices"
	"strconv"

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
func (run *Run) draw(w io.Writer) error {
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
	text, err := svg(canvas)
	if err != nil {
		return err
	}
	_, err = w.Write(text)
	return err
}

func svg(canvas *vgsvg.Canvas) ([]byte, error) {
	var text bytes.Buffer
	if _, err := canvas.WriteTo(&text); err != nil {
		return nil, err
	}
	// Fonts of the same widths, for where the first is missing.
	return bytes.ReplaceAll(text.Bytes(), []byte("font-family:Liberation Sans"), []byte("font-family:Liberation Sans,Arial,Helvetica,sans-serif")), nil
}

func panel(r *Result) (*plot.Plot, error) {
	p := plot.New()
	p.Title.Text = r.Scenario.Title
	p.X.Label.Text = "ns for one use"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, plot.TickerFunc(ticks)
	for _, style := range []*draw.TextStyle{&p.Title.TextStyle, &p.X.Label.TextStyle, (*draw.TextStyle)(&p.X.Tick.Label), (*draw.TextStyle)(&p.Y.Tick.Label)} {
		style.Color = ink
		style.Font.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size, p.Title.Padding = 11, 3*vg.Millimeter
	p.X.Label.TextStyle.Font.Size = 9
	took := r.rivals()
	slices.Reverse(took) // the first goes on top
	names := make([]string, len(took))
	for i, rival := range took {
		names[i] = rival.Name
	}
	p.NominalY(names...)
	p.Y.LineStyle.Width, p.Y.Tick.Length = 0, 0
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = faint, faint
	p.Add(grid)
	least, most := math.Inf(1), 0.0
	for i, rival := range took {
		low, mid, high := quartiles(r.figures(rival.Name, Time))
		least, most = min(least, low), max(most, high)
		d := dots{
			plotter.XYs{{X: mid, Y: float64(i)}},
			plotter.XErrors{{Low: mid - low, High: high - mid}},
		}
		paint := grey
		switch rival.Kind {
		case rivals.Ours, rivals.Variant:
			paint = accent
		case rivals.Library:
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
		if rival.Kind == rivals.Floor {
			dot.Shape = draw.RingGlyph{}
			spread.CapWidth = 0 // it would fill the ring
		}
		p.Add(spread, dot)
	}
	p.X.Min, p.X.Max = least/1.2, most*1.2 // room for the dots
	p.Y.Min, p.Y.Max = -0.6, float64(len(names))-0.4
	return p, nil
}

// ticks are 1, 2 and 5 of each power of ten; more where these are few, and
// fewer where they would meet.
func ticks(least, most float64) []plot.Tick {
	digits := []float64{1, 2, 5}
	switch {
	case most < 10*least:
		digits = []float64{1, 1.5, 2, 3, 5, 7}
	case most > 100*least:
		digits = []float64{1, 3}
	}
	var all []plot.Tick
	for decade := math.Pow(10, math.Floor(math.Log10(least))); decade <= most; decade *= 10 {
		for _, digit := range digits {
			if v := digit * decade; v >= least && v <= most {
				all = append(all, plot.Tick{Value: v, Label: strconv.FormatFloat(v, 'f', -1, 64)})
			}
		}
	}
	return all
}
