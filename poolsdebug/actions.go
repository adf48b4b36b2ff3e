package poolsdebug

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/utopia-go/pools"
)

// refreshFor bounds a Refresh that the page began; what is left then is still
// replaced, but nobody waits for it.
const refreshFor = 10 * time.Minute

// filler is what a Pool can do beyond AnyPool.
type filler interface {
	Fill(ctx context.Context, n int) error
}

// action does what the page's buttons say: POST with the fields pool, do and,
// to resize, size.
func (h *handler) action(w http.ResponseWriter, r *http.Request) {
	refuse := func(status int, format string, args ...any) {
		http.Error(w, "poolsdebug: "+fmt.Sprintf(format, args...), status)
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		refuse(http.StatusMethodNotAllowed, "only POST here")
		return
	}
	if !h.options.AllowActions {
		refuse(http.StatusForbidden, "this page only shows; see Options.AllowActions")
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	name := r.PostFormValue("pool")
	p := h.find(name)
	if p == nil {
		refuse(http.StatusNotFound, "there is no pool %s", clean(name))
		return
	}
	// On a closed pool Pause and Resume do nothing, without an error, and Refresh
	// fails later. Fill(ctx, 0) returns at once, and is no event.
	if f, ok := p.(filler); ok && errors.Is(f.Fill(r.Context(), 0), pools.ErrClosed) {
		refuse(http.StatusConflict, "the pool %s is closed", clean(name))
		return
	}
	switch do := r.PostFormValue("do"); do {
	case "resize":
		size, err := strconv.Atoi(r.PostFormValue("size"))
		if err != nil {
			refuse(http.StatusBadRequest, "size is %s; give a whole number", clean(r.PostFormValue("size")))
			return
		}
		if err := p.Configure(func(s *pools.Settings) { s.Size = size }); err != nil {
			refuse(http.StatusBadRequest, "%v", err)
			return
		}
	case "pause":
		p.Pause()
	case "resume":
		p.Resume()
	case "refresh":
		go func() {
			ctx, cancel := context.WithTimeout(context.Background(), refreshFor)
			defer cancel()
			_ = p.Refresh(ctx, 0) // what happens is among the events
		}()
	default:
		refuse(http.StatusBadRequest, "do is %s; give resize, pause, resume or refresh", clean(do))
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
