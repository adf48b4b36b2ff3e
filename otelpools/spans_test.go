package otelpools_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"go.opentelemetry.io/otel/codes"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/otelpools"
	"github.com/utopia-go/pools/poolstest"
)

// traced makes a pool with a traced connector, and a request with a span.
func traced(t *testing.T, settings pools.Settings) (*pools.Pool[*poolstest.Resource], *poolstest.Server, *tracetest.SpanRecorder, context.Context) {
	spans := tracetest.NewSpanRecorder()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	server := poolstest.NewServer(t, settings.Size)
	pool, err := pools.New("spans", otelpools.Connector(server.Connector(), "spans"), settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	ctx, span := provider.Tracer("test").Start(t.Context(), "request")
	t.Cleanup(func() { span.End() })
	return pool, server, spans, ctx
}

func TestSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server, spans, ctx := traced(t, pools.Settings{Size: 1, WaitTimeout: 30 * time.Second})
		server.Open.Next(poolstest.Delay(time.Second))
		began := time.Now()
		nothing := func(*poolstest.Resource) error { return nil }
		if err := otelpools.Use(ctx, pool, nothing); err != nil {
			t.Fatal(err)
		}
		for range 10 { // these have no wait
			if err := otelpools.Use(ctx, pool, nothing); err != nil {
				t.Fatal(err)
			}
		}
		conn, err := otelpools.Pop(ctx, pool)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := otelpools.Pop(ctx, pool); !errors.Is(err, pools.ErrWaitTimeout) {
			t.Error(err)
		}
		if err := otelpools.Use(ctx, pool, nothing); !errors.Is(err, pools.ErrWaitTimeout) {
			t.Error(err)
		}
		if err := conn.Push(); err != nil {
			t.Fatal(err)
		}

		parent := trace.SpanContextFromContext(ctx)
		ended := spans.Ended()
		for i, want := range []struct {
			name     string
			from, to time.Duration
			status   codes.Code
			kind     trace.SpanKind
		}{
			{"pool open", 0, time.Second, codes.Unset, trace.SpanKindClient},
			{"pool wait", 0, time.Second, codes.Unset, trace.SpanKindInternal},
			{"pool wait", time.Second, 31 * time.Second, codes.Error, trace.SpanKindInternal},
			{"pool wait", 31 * time.Second, 61 * time.Second, codes.Error, trace.SpanKindInternal},
		} {
			if i >= len(ended) {
				t.Fatalf("there are %d spans", len(ended))
			}
			s := ended[i]
			if s.Name() != want.name || s.StartTime().Sub(began) != want.from || s.EndTime().Sub(began) != want.to ||
				s.Status().Code != want.status || s.SpanKind() != want.kind || s.Parent().SpanID() != parent.SpanID() {
				t.Errorf("span %d: %q from %v to %v, %v, %v, child of %v; want %+v", i, s.Name(), s.StartTime().Sub(began),
					s.EndTime().Sub(began), s.Status(), s.SpanKind(), s.Parent().SpanID(), want)
			}
			if a := s.Attributes(); len(a) != 1 || a[0].Key != "db.client.connection.pool.name" || a[0].Value.AsString() != "spans" {
				t.Errorf("span %d: %v", i, a)
			}
		}
		if len(ended) != 4 {
			t.Errorf("there are %d spans", len(ended))
		}
	})
}

// Each try to open has a span, and says why it failed.
func TestSpansOfFailingOpens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server, spans, ctx := traced(t, pools.Settings{Size: 1, ReconnectAttempts: 2})
		down := errors.New("the server is down")
		server.Open.Next(poolstest.Fail(down), poolstest.Panic("oops"))
		if err := otelpools.Use(ctx, pool, nil); err == nil {
			t.Fatal("a connection came of nowhere")
		}
		synctest.Wait()
		ended := spans.Ended()
		if len(ended) != 3 || ended[0].Name() != "pool open" || ended[0].Status().Description != down.Error() ||
			ended[1].Name() != "pool open" || len(ended[1].Events()) != 1 || ended[2].Name() != "pool wait" || ended[2].Status().Code != codes.Error {
			for _, s := range ended {
				t.Errorf("%s: %v %v", s.Name(), s.Status(), s.Events())
			}
		}
	})
}

// A try that begins when the request is over still is its child.
func TestSpansAfterTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server, spans, ctx := traced(t, pools.Settings{Size: 1, WaitTimeout: time.Millisecond, ReconnectAttempts: 2})
		server.Open.Next(poolstest.InOrder(poolstest.Delay(time.Second), poolstest.Fail(errors.New("down"))))
		if _, err := otelpools.Pop(ctx, pool); !errors.Is(err, pools.ErrWaitTimeout) {
			t.Error(err)
		}
		trace.SpanFromContext(ctx).End()
		time.Sleep(time.Minute)
		opens := 0
		for _, s := range spans.Ended() {
			if s.Name() == "pool open" && s.Parent().SpanID() == trace.SpanContextFromContext(ctx).SpanID() {
				opens++
			}
		}
		if opens != 2 {
			t.Errorf("%d spans of two tries", opens)
		}
	})
}

// Without a span in ctx that is sampled there is none.
func TestNoSpans(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pool, server, spans, _ := traced(t, pools.Settings{Size: 1})
		server.Open.Next(poolstest.Delay(time.Second))
		provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans), sdktrace.WithSampler(sdktrace.NeverSample()))
		ctx, span := provider.Tracer("test").Start(t.Context(), "request")
		defer span.End()
		if err := otelpools.Use(ctx, pool, func(*poolstest.Resource) error { return nil }); err != nil {
			t.Fatal(err)
		}
		conn, err := otelpools.Pop(t.Context(), pool)
		if err != nil {
			t.Fatal(err)
		}
		if err := conn.Push(); err != nil {
			t.Fatal(err)
		}
		if n := len(spans.Ended()); n != 0 {
			t.Errorf("there are %d spans", n)
		}
	})
}

func TestConnectorWithoutOpen(t *testing.T) {
	_, err := pools.New("none", otelpools.Connector(pools.Connector[*poolstest.Resource]{}, "none"), pools.Settings{Size: 1})
	if err == nil {
		t.Error("a connector without Open was taken")
	}
}

// The connector's own Values stays, and adds to the span.
func TestValuesOfTheConnector(t *testing.T) {
	type key struct{}
	for name, values := range map[string]func(context.Context) context.Context{
		"none": nil,
		"nil":  func(context.Context) context.Context { return nil },
		"one": func(ctx context.Context) context.Context {
			return context.WithValue(context.Background(), key{}, ctx.Value(key{}))
		},
	} {
		spans := tracetest.NewSpanRecorder()
		ctx, span := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)).Tracer("test").Start(context.WithValue(t.Context(), key{}, "value"), "request")
		server := poolstest.NewServer(t, 1)
		connector := server.Connector()
		connector.Values = values
		var got any
		open := connector.Open
		connector.Open = func(ctx context.Context) (*poolstest.Resource, error) {
			got = ctx.Value(key{})
			return open(ctx)
		}
		pool, err := pools.New("values", otelpools.Connector(connector, "values"), pools.Settings{Size: 1})
		if err != nil {
			t.Fatal(err)
		}
		if err := pool.Use(ctx, func(*poolstest.Resource) error { return nil }); err != nil {
			t.Error(err)
		}
		if err := pool.Close(context.Background()); err != nil {
			t.Error(err)
		}
		if want := map[string]any{"one": "value"}[name]; got != want {
			t.Errorf("%s: Open got %v, not %v", name, got, want)
		}
		if ended := spans.Ended(); len(ended) != 1 || ended[0].Parent().SpanID() != span.SpanContext().SpanID() {
			t.Errorf("%s: spans %v", name, ended)
		}
		span.End()
	}
}
