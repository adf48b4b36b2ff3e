package otelpools

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/utopia-go/pools"
)

// worthASpan is how long a Pop takes at least that had to wait, about.
const worthASpan = 100 * time.Microsecond

// tracer is that of the span in ctx, or nil if that is not sampled. One that
// has ended records no more, but it may still become a parent.
func tracer(ctx context.Context) trace.Tracer {
	span := trace.SpanFromContext(ctx)
	if !span.SpanContext().IsSampled() {
		return nil
	}
	return span.TracerProvider().Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
}

// start starts a span about a pool.
func start(ctx context.Context, t trace.Tracer, name, pool string, kind trace.SpanKind, at time.Time) (context.Context, trace.Span) {
	return t.Start(ctx, name, trace.WithSpanKind(kind), trace.WithTimestamp(at),
		trace.WithAttributes(semconv.DBClientConnectionPoolName(pool)))
}

func fail(span trace.Span, err error) {
	if err != nil {
		span.RecordError(err)
		span.SetStatus(codes.Error, err.Error())
	}
}

// Connector returns c with a span "pool open" around each try of its Open. The
// span's parent is the span of whoever waited first when the open began, which
// may be over when the open is. An open for which nobody waits (MinIdle, Fill
// and the like), or whose first waiter's span is not sampled, has no span.
// Connector adds that span to the values that c.Values lets through. pool is the
// pool's name.
func Connector[T any](c pools.Connector[T], pool string) pools.Connector[T] {
	open := c.Open
	if open == nil {
		return c // pools.New says so
	}
	values := c.Values
	c.Values = func(ctx context.Context) context.Context {
		to := context.Background()
		if values != nil {
			if given := values(ctx); given != nil {
				to = given
			}
		}
		return trace.ContextWithSpan(to, trace.SpanFromContext(ctx))
	}
	c.Open = func(ctx context.Context) (T, error) {
		t := tracer(ctx)
		if t == nil {
			return open(ctx)
		}
		ctx, span := start(ctx, t, "pool open", pool, trace.SpanKindClient, time.Now())
		defer span.End() // a panic becomes an event of the span, and goes on
		resource, err := open(ctx)
		fail(span, err)
		return resource, err
	}
	return c
}

// Pop is [pools.Pool.Pop] with a span "pool wait" if it had to wait, which
// means 100 microseconds or more, or failed. When the span of ctx is not
// sampled it costs nothing more; when it is, two readings of the clock.
func Pop[T any](ctx context.Context, pool *pools.Pool[T]) (pools.Conn[T], error) {
	t := tracer(ctx)
	if t == nil {
		return pool.Pop(ctx)
	}
	began := time.Now()
	conn, err := pool.Pop(ctx)
	waited(ctx, t, pool.Name(), began, err)
	return conn, err
}

// Use is [pools.Pool.Use] with the span of [Pop]. It says nothing about the
// use itself, which is the caller's to trace.
func Use[T any](ctx context.Context, pool *pools.Pool[T], fn func(resource T) error) error {
	t := tracer(ctx)
	if t == nil {
		return pool.Use(ctx, fn)
	}
	began, popped := time.Now(), false
	err := pool.Use(ctx, func(resource T) error {
		popped = true
		waited(ctx, t, pool.Name(), began, nil)
		return fn(resource)
	})
	if !popped {
		waited(ctx, t, pool.Name(), began, err)
	}
	return err
}

// waited makes the span of a wait when it is over: until then nobody knows
// that there is one.
func waited(ctx context.Context, t trace.Tracer, pool string, began time.Time, err error) {
	now := time.Now()
	if err == nil && now.Sub(began) < worthASpan {
		return
	}
	_, span := start(ctx, t, "pool wait", pool, trace.SpanKindInternal, began)
	fail(span, err)
	span.End(trace.WithTimestamp(now))
}
