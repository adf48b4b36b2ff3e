package main

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"

	"gorm.io/gorm"

	"github.com/utopia-go/pools"
)

// server answers requests, each within the deadline.
type server struct {
	store    *store
	deadline time.Duration
}

func (s *server) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("POST /orders", s.answer(http.StatusCreated, s.place))
	mux.Handle("GET /orders/{id}", s.answer(http.StatusOK, byID(s.store.order)))
	mux.Handle("GET /products/{id}", s.answer(http.StatusOK, byID(s.store.product)))
	return mux
}

// refusal is an error that is the client's.
type refusal struct {
	status int
	says   string
}

func (r refusal) Error() string { return r.says }

// answer writes what f returns as JSON. The ctx of f ends with the deadline, or when
// the client goes away: whoever waits for a connection then leaves the queue.
func (s *server) answer(status int, f func(ctx context.Context, r *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), s.deadline)
		defer cancel()
		r.Body = http.MaxBytesReader(w, r.Body, 1<<16)
		got, err := f(ctx, r)
		code := status
		if err != nil {
			code, got = refuse(err)
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(code)
		_ = json.NewEncoder(w).Encode(got) // else the client is gone
	})
}

// refuse says what the client gets for an error: no text of the database's.
func refuse(err error) (status int, answer any) {
	says := "the service failed"
	r, own := errors.AsType[refusal](err)
	switch {
	case own:
		status, says = r.status, r.says
	case errors.Is(err, gorm.ErrRecordNotFound):
		status, says = http.StatusNotFound, "there is none with this id"
	case errors.Is(err, errSoldOut):
		status, says = http.StatusConflict, err.Error()
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), isPopError(err):
		status, says = http.StatusServiceUnavailable, "too busy; try again later"
	default:
		status = http.StatusInternalServerError
	}
	return status, map[string]string{"error": says}
}

// isPopError reports whether there was no connection: with -pool sql that has no type.
func isPopError(err error) bool {
	_, is := errors.AsType[*pools.PopError](err)
	return is
}

func (s *server) place(ctx context.Context, r *http.Request) (any, error) {
	var o order
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&o); err != nil {
		return nil, refusal{http.StatusBadRequest, `the order is no JSON like {"customer": "Ada", "product": 7, "quantity": 2}`}
	}
	if o.ID != 0 || !o.CreatedAt.IsZero() || o.Customer == "" || len(o.Customer) > 100 || o.Quantity < 1 {
		return nil, refusal{http.StatusBadRequest, "an order has a customer of 1 to 100 bytes, a product and a quantity of at least 1"}
	}
	err := s.store.place(ctx, &o)
	return o, err
}

// byID is the request for one thing.
func byID[T any](get func(ctx context.Context, id int64) (T, error)) func(context.Context, *http.Request) (any, error) {
	return func(ctx context.Context, r *http.Request) (any, error) {
		id, err := strconv.ParseInt(r.PathValue("id"), 10, 64)
		if err != nil {
			return nil, refusal{http.StatusBadRequest, "the id is no number"}
		}
		return get(ctx, id)
	}
}
