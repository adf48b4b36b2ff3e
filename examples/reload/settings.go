//lint:file-ignore ST1005 Settings is a name

package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/utopia-go/pools"
)

// decode sets the fields of s that data names and leaves the others unchanged, so
// a file needs only the fields that differ:
//
//	{"Size": 20, "IdleTimeout": "90s", "MaxLifetime": "Never", "MaxWaiting": "NoLimit"}
//
// Durations are strings that [time.ParseDuration] accepts, or "Never" or
// "Always". Counts are numbers or "NoLimit", for MaxWaiting also "NoQueue". Names
// and words are case-insensitive. decode reports all faults in one error, which
// names the fields, and then leaves s unchanged. JSON cannot set the Logger and the
// Observer.
func decode(data []byte, s *pools.Settings) error {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(data, &fields); err != nil {
		return err
	}
	next := *s
	v := reflect.ValueOf(&next).Elem()
	var faults []error
	for _, name := range slices.Sorted(maps.Keys(fields)) {
		field, ok := v.Type().FieldByNameFunc(func(n string) bool { return strings.EqualFold(n, name) })
		if !ok || field.Tag.Get("json") == "-" {
			faults = append(faults, fmt.Errorf("Settings.%s: is not a setting that JSON can set; see pools.Settings for the names", name))
			continue
		}
		if err := fromJSON(v.FieldByIndex(field.Index), fields[name]); err != nil {
			faults = append(faults, fmt.Errorf("Settings.%s: is %s; %w", field.Name, fields[name], err))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return err
	}
	*s = next
	return nil
}

// words are the names that JSON may use in place of a value.
var words = map[reflect.Type]map[string]int64{
	reflect.TypeFor[time.Duration](): {"Never": int64(pools.Never), "Always": int64(pools.Always)},
	reflect.TypeFor[int]():           {"NoLimit": int64(pools.NoLimit), "NoQueue": int64(pools.NoQueue)},
}

var remedies = map[reflect.Type]string{
	reflect.TypeFor[time.Duration](): `give a string such as "5s" or "1h30m", or "Never" or "Always"`,
	reflect.TypeFor[int]():           `give a whole number, or "NoLimit", or for MaxWaiting "NoQueue"`,
	reflect.TypeFor[bool]():          "give true or false",
}

func fromJSON(field reflect.Value, data json.RawMessage) error {
	remedy := errors.New(remedies[field.Type()])
	var text string
	if json.Unmarshal(data, &text) == nil {
		for word, value := range words[field.Type()] {
			if strings.EqualFold(word, text) {
				field.SetInt(value)
				return nil
			}
		}
		d, err := time.ParseDuration(text)
		if err != nil || d < 0 || field.Type() != reflect.TypeFor[time.Duration]() {
			return remedy
		}
		field.SetInt(int64(d))
		return nil
	}
	switch field.Interface().(type) {
	case int, bool:
		if json.Unmarshal(data, field.Addr().Interface()) != nil {
			return remedy
		}
		return nil
	}
	return remedy
}
