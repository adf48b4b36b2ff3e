package amqpchan

import "time"

const (
	queued = 65536       // events that one listener may be late with
	grace  = time.Second // for a listener after the lease
)

// end notes that the lease has ended.
func (ch *Channel) end() { ch.ends.Do(func() { close(ch.over) }) }

// forwardTo is forward to one listener that takes the events as they are.
func forwardTo[T any](ch *Channel, said <-chan T, listener chan T) {
	forward(ch, said, func(event T) (chan<- T, T) { return listener, event }, func() { close(listener) })
}

// forward takes what the client says as soon as it says it, and offers it to a
// listener one after the other, until a while after the lease. The function
// target says to whom and what, and end closes the listeners.
func forward[T, V any](ch *Channel, said <-chan T, target func(T) (chan<- V, V), end func()) {
	ch.changed.Store(true)
	go func() {
		var (
			waiting []T
			late    <-chan time.Time // runs from the end of the lease on
			dropped bool
		)
		over := ch.over
		for said != nil || len(waiting) > 0 {
			var to chan<- V
			var next V
			if len(waiting) > 0 {
				to, next = target(waiting[0])
			}
			select {
			case event, ok := <-said:
				switch {
				case !ok:
					said = nil
					if late == nil && !dropped {
						over, late = nil, time.After(grace)
					}
				case !dropped && len(waiting) < queued:
					waiting = append(waiting, event)
				}
			case to <- next:
				waiting = waiting[1:]
			case <-over:
				over, late = nil, time.After(grace)
			case <-late:
				late, dropped, waiting = nil, true, nil
			}
		}
		end()
	}()
}
