package pools

// peeks asks Connector.Peek about a connection that has rested, which conn holds,
// and closes it if it is of no use. It reports whether it is good.
func peeks[T any](conn Conn[T]) bool {
	p := conn.handle.pool
	returned := false
	defer func() {
		if !returned {
			_ = conn.Destroy() // Peek panics, or calls Goexit
		}
	}()
	err := p.connector.Peek(conn.handle.conn.resource)
	returned = true
	if err == nil {
		return true
	}
	if _, ended := p.end(conn); ended != nil {
		return false // it was revoked, and is being closed
	}
	p.lock()
	defer p.unlock()
	p.passedUp++ // nobody got it
	p.suspectIdle(true)
	p.close(conn.handle.slot, ReasonCheck, err)
	return false
}
