package netconn

import (
	"net"
	"time"
)

// A connection on which nothing is heard gets probes, an interval apart.
const (
	probes   = 3
	shortest = (probes + 1) * time.Second // systems take whole seconds
	furthest = 9 * time.Hour              // and Linux no more than 32,767 of them
)

// Dialer returns a dialer whose TCP connections end when the other side has not been
// heard for that long, give or take a second: its machine has crashed, or a
// firewall on the way has forgotten the connection. It is for [DialWith],
// [DialTLSWith] and whatever else takes a [net.Dialer]; its fields may be changed
// before its first use.
//
// After silence the system ends a connection that is idle, or whose user waits for
// an answer. Keep-alive probes find that out, which begin after about half of
// silence. On Linux it also ends a connection whose other side acknowledges nothing
// of what was sent, or is there but takes nothing more of it (TCP_USER_TIMEOUT,
// which the dialer's Control sets). Reads and writes then fail with ETIMEDOUT, and
// [Check] returns an error. On other systems only the probes are set: what is not
// acknowledged is sent again for as long as the system does that. OpenBSD has no
// such settings for a single connection. The package's comment has measured times.
//
// silence is rounded up to a second; less than 4 s counts as 4 s, more than 9 h as
// 9 h. It must be longer than the other side may take to read what it is sent, and
// should be at most twice as long as a firewall on the way remembers a quiet
// connection, so that the probes remind it in time. A live connection costs one
// packet each way for about every half of silence in which it is idle.
func Dialer(silence time.Duration) *net.Dialer {
	silence = min(max(silence, shortest), furthest)
	silence = (silence + time.Second - 1).Truncate(time.Second)
	interval := max(silence/(2*probes), time.Second).Truncate(time.Second)
	return &net.Dialer{
		KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: silence - probes*interval, Interval: interval, Count: probes},
		Control:         unacknowledged(silence),
	}
}
