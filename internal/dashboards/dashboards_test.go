// Package dashboards_test holds the dashboard against Grafana's own schema.
// What its questions answer is tested beside the metrics, in prompools.
package dashboards_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func TestGrafanaSchema(t *testing.T) {
	raw, err := os.ReadFile("../../dashboards/grafana.json")
	if err != nil {
		t.Fatal(err)
	}
	plugins.RegisterDefaultPlugins()
	// No unknown field, and none missing that is required. No fault at all
	// comes as an error too, an empty list.
	//lint:ignore SA1019 the file has the schema that every Grafana in use imports
	var strict dashboard.Dashboard
	if err := strict.UnmarshalJSONStrict(raw); err != nil && err.Error() != "" {
		t.Error(err)
	}
	//lint:ignore SA1019 as above
	var d dashboard.Dashboard
	if err := json.Unmarshal(raw, &d); err != nil {
		t.Fatal(err)
	}
	if err := d.Validate(); err != nil && err.Error() != "" {
		t.Error(err)
	}
	if len(d.Panels) == 0 {
		t.Error("there are no panels")
	}
}
