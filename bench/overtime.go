package main

import (
	"bytes"
	"fmt"
	"image/color"
	"io"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// overloadPicture is the name of the picture of the overload, beside a
// report's other one.
func overloadPicture(picture string) string {
	return strings.TrimSuffix(picture, ".svg") + "-overload.svg"
}

var shade = color.RGBA{0xf6, 0xe9, 0xd8, 0xff} // the time of the overload

// dark is what each colour becomes where the reader prefers dark pages.
var dark = []struct {
	light color.RGBA
	dark  string
}{
	{color.RGBA{0xff, 0xff, 0xff, 0xff}, "#0d1117"}, {ink, "#e6edf3"}, {faint, "#30363d"},
	{accent, "#ff7b72"}, {grey, "#9198a1"}, {shade, "#2d2415"},
}

// drawOverTime writes the picture of the overload: how many uses each pool
// finished in each second, all on one scale.
func (r *Result) drawOverTime(w io.Writer) error {
	row := make([]*plot.Plot, 0, len(overloadRivals))
	for _, name := range overloadRivals {
		if series := r.Series[name]; len(series) > 0 {
			one, err := timePanel(name, series, len(row) == 0)
			if err != nil {
				return err
			}
			row = append(row, one)
		}
	}
	if len(row) == 0 {
		return nil
	}
	canvas := vgsvg.New(24*vg.Centimeter, 7*vg.Centimeter)
	paper := draw.New(canvas)
	paper.SetColor(color.White)
	paper.Fill(paper.Rectangle.Path())
	tiles := draw.Tiles{
		Rows: 1, Cols: len(row), PadX: 4 * vg.Millimeter,
		PadTop: 4 * vg.Millimeter, PadBottom: 4 * vg.Millimeter, PadLeft: 4 * vg.Millimeter, PadRight: 6 * vg.Millimeter,
	}
	for i, place := range plot.Align([][]*plot.Plot{row}, tiles, paper)[0] {
		row[i].Draw(place)
	}
	text, err := svg(canvas)
	if err != nil {
		return err
	}
	_, err = w.Write(withDark(text))
	return err
}

// withDark adds the colours for dark pages to a picture.
func withDark(svg []byte) []byte {
	var style strings.Builder
	style.WriteString("<style>@media (prefers-color-scheme: dark) {\n")
	for _, c := range dark {
		for _, what := range []string{"fill", "stroke"} {
			fmt.Fprintf(&style, "[style*=\"%s:#%02X%02X%02X\"] { %s: %s !important }\n", what, c.light.R, c.light.G, c.light.B, what, c.dark)
		}
	}
	style.WriteString("}</style>\n")
	before, after, _ := bytes.Cut(svg, []byte("<g "))
	return append(append(append([]byte{}, before...), style.String()...), append([]byte("<g "), after...)...)
}

// timePanel is one pool's.
func timePanel(name string, series []float64, first bool) (*plot.Plot, error) {
	const capacity = 200 // a second
	p := plot.New()
	p.Title.Text, p.X.Label.Text = name, "seconds"
	if first {
		p.Y.Label.Text = "uses in time, a second"
	}
	for _, style := range []*draw.TextStyle{
		&p.Title.TextStyle, &p.X.Label.TextStyle, &p.Y.Label.TextStyle,
		(*draw.TextStyle)(&p.X.Tick.Label), (*draw.TextStyle)(&p.Y.Tick.Label),
	} {
		style.Color = ink
		style.Font.Variant = "Sans"
	}
	p.Title.TextStyle.Font.Size, p.Title.Padding = 11, 3*vg.Millimeter
	p.X.Label.TextStyle.Font.Size, p.Y.Label.TextStyle.Font.Size = 9, 9
	for _, axis := range []*plot.Axis{&p.X, &p.Y} {
		axis.LineStyle.Color, axis.Tick.LineStyle.Color = grey, grey
	}
	p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, overloadSeconds, 0, 1.1*capacity
	p.X.Tick.Marker = every(10, 20, overloadSeconds)
	p.Y.Tick.Marker = every(50, 100, capacity)
	if !first {
		p.Y.Tick.Label.Font.Size = 0
		p.Y.Tick.Marker = plot.ConstantTicks(nil)
	}

	overload, err := plotter.NewPolygon(plotter.XYs{
		{X: overloadFrom, Y: 0}, {X: overloadTo, Y: 0}, {X: overloadTo, Y: p.Y.Max}, {X: overloadFrom, Y: p.Y.Max},
	})
	if err != nil {
		return nil, err
	}
	overload.Color, overload.LineStyle.Width = shade, 0
	attainable, err := plotter.NewLine(plotter.XYs{
		{X: 0, Y: overloadCalm * capacity}, {X: overloadFrom, Y: overloadCalm * capacity},
		{X: overloadFrom, Y: capacity}, {X: overloadTo, Y: capacity},
		{X: overloadTo, Y: overloadCalm * capacity}, {X: overloadSeconds, Y: overloadCalm * capacity},
	})
	if err != nil {
		return nil, err
	}
	attainable.Color, attainable.Dashes = grey, []vg.Length{vg.Points(3), vg.Points(2)}
	points := make(plotter.XYs, len(series))
	for i, v := range series {
		points[i] = plotter.XY{X: float64(i) + 0.5, Y: v}
	}
	line, err := plotter.NewLine(points)
	if err != nil {
		return nil, err
	}
	line.Width, line.Color = vg.Points(1.6), ink
	if name == "pools" {
		line.Color = accent
	}
	p.Add(overload, attainable, line)
	return p, nil
}

// every is ticks at each step, with a label at each second one or so.
func every(step, label, most int) plot.ConstantTicks {
	var all plot.ConstantTicks
	for v := 0; v <= most; v += step {
		t := plot.Tick{Value: float64(v)}
		if v%label == 0 {
			t.Label = fmt.Sprint(v)
		}
		all = append(all, t)
	}
	return all
}
