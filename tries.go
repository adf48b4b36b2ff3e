package pools

import (
	"context"
	"time"
)

// mayTryAgain pauses after a try that failed. It returns false if no further one
// may begin.
func (j *openJob[T]) mayTryAgain(ctx context.Context, try int) bool {
	for left := j.pauses.jitter(try - 1); left > 0 && !j.isDown(); left -= nap {
		if !sleep(ctx, min(left, nap)) {
			break
		}
	}
	if ctx.Err() == nil && j.awaitTurn(ctx) {
		return true
	}
	pauseCall("no_try", j.number)
	return false
}

// nap is how long an open sleeps before it looks whether another one has found the
// server down. Then no further try begins, and nobody is to wait for one.
const nap = 50 * time.Millisecond

func (j *openJob[T]) isDown() bool {
	j.p.lock()
	defer j.p.unlock()
	return j.p.pace.down()
}

// awaitTurn waits until MaxOpensPerSecond allows a further try, and takes it.
// It returns false if ctx ends first, or if no further try may begin: the pool
// was paused, Size was lowered, or the server is down and the prober alone tries.
func (j *openJob[T]) awaitTurn(ctx context.Context) bool {
	p := j.p
	for {
		p.lock()
		wait := time.Duration(p.pace.nextTry - p.now())
		stop, down := p.paused || p.taken() > p.settings.Size, p.pace.down()
		if wait <= 0 && !stop && !down {
			p.pace.tried(p.now(), p.settings.MaxOpensPerSecond)
		}
		p.unlock()
		if wait <= 0 || stop || down {
			j.stopped = stop
			return !stop && !down
		}
		if !sleep(ctx, wait) {
			return false
		}
		pauseCall("turn", j.number)
	}
}

// sleep returns false if ctx ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
