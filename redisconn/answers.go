package redisconn

import (
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gomodule/redigo/redis"

	"github.com/utopia-go/pools"
)

// wary is how long after an answer of a replica Open asks servers for their role.
const wary = 10 * time.Second

var (
	errReplica = errors.New("redisconn: the server is a replica, and users of this pool write: let Address lead to the primary, or set Options.Replica")
	errNoRole  = errors.New("redisconn: the connection is older than a failover, and the server does not tell its role; allow the user HELLO to keep such connections")
)

// roles is what the connections of one connector have learnt of a failover.
type roles struct {
	replica bool          // Options.Replica: nothing is learnt
	lost    atomic.Uint64 // how many answers have said that a server is no primary
	at      atomic.Int64  // when the latest did, since start; 0: none has
}

var start = time.Now()

func (r *roles) lose() {
	r.lost.Add(1)
	r.at.Store(int64(time.Since(start)))
}

// wary reports whether a server that is reached now may be the old primary.
func (r *roles) wary() bool {
	at := r.at.Load()
	return at != 0 && time.Since(start)-time.Duration(at) < wary
}

// doubted reports whether a server has lost its role since this connection's had
// the right one.
func (c *Conn) doubted() bool {
	return c.roles != nil && c.roles.lost.Load() != c.proved.Load()
}

// heard looks for answers that say more of the connection than of the command.
// Those of EXEC, of scripts and of pipelines are in arrays.
func (c *Conn) heard(answer any, err error) {
	if e, is := err.(redis.Error); is {
		c.heardError(string(e))
	}
	switch a := answer.(type) {
	case redis.Error:
		c.heardError(string(a))
	case []any:
		for _, one := range a {
			switch one.(type) {
			case redis.Error, []any:
				c.heard(one, nil)
			}
		}
	}
}

// heardError is heard's for one error. The table in the package's comment says
// what each means.
func (c *Conn) heardError(text string) {
	word, _, _ := strings.Cut(text, " ")
	demoted := false
	switch word {
	case "READONLY", "MASTERDOWN":
		demoted = true
	case "EXECABORT", "ERR": // of a transaction; of a script before Redis 7.0
		demoted = strings.Contains(text, "READONLY You can't write")
	case "UNBLOCKED": // CLIENT UNBLOCK says so too, and then nothing is wrong
		demoted = strings.Contains(text, "instance state changed")
		if demoted {
			c.useless.Store(true) // the server closes it
		}
	case "NOAUTH":
		if c.left.Load()&other == 0 { // else Reset logs in again
			c.useless.Store(true)
		}
	}
	if demoted && c.roles != nil && !c.roles.replica {
		c.useless.Store(true)
		c.roles.lose()
	}
}

// role returns the role in an answer to HELLO; "" if there is none.
func role(answer any) string {
	list, _ := answer.([]any)
	for i := 0; i+1 < len(list); i += 2 {
		if text(list[i]) == "role" {
			role, _ := text(list[i+1]).(string)
			return role
		}
	}
	return ""
}

// text is an answer, as a string if it is a text.
func text(answer any) any {
	if b, is := answer.([]byte); is {
		return string(b)
	}
	return answer
}

// isPrimary returns an error if an answer to HELLO is not a primary's. strict
// says that the server must tell.
func isPrimary(answer any, err error, strict bool) error {
	if _, is := err.(redis.Error); err != nil && !is {
		return err
	}
	switch role := role(answer); {
	case role != "" && role != "master":
		return errReplica
	case role == "" && strict:
		return errNoRole
	}
	return nil
}

// answers reports whether an error to PING is an answer as good as PONG: the
// server is there, has parsed the command, and knows who asks.
func answers(err error) bool {
	e, is := err.(redis.Error)
	return is && (strings.HasPrefix(string(e), "NOPERM ") || strings.HasPrefix(string(e), "BUSY "))
}

// expect returns an error if a command was not answered as it has to be: the
// answer is another's then. What the answer is stays out of the error: it may be
// the data of another user.
func expect(command, want string, answer any, err error) error {
	if e, is := err.(redis.Error); is {
		return refused(command, string(e))
	}
	if err == nil && text(answer) != want {
		return fmt.Errorf("redisconn: %s was not answered with %s: the answer belongs to another command", command, want)
	}
	return err
}

// refusal is an error of Redis that may be shown: known holds nothing of the
// command that was sent, and nothing of another's.
type refusal struct {
	known     string
	permanent bool // in Open
	ofLogin   bool // another login may fare better
	remedy    string
}

var refusals = []refusal{
	{"WRONGPASS", true, true, "check Options.Username and Password"},
	{"NOAUTH", true, true, "the server wants a login: give Options.Password, and Username if it has users"},
	{"NOPERM", true, true, "allow the user this command"},
	{"ERR invalid password", true, true, "check Options.Password"},
	{"ERR AUTH <password> called without any password configured", true, true, "the server's default user has no password: give none, or a Username too"},
	{"ERR Client sent AUTH, but no password is set", true, true, "the server has no password: give none"},
	{"ERR DB index is out of range", true, false, "the server has fewer databases than Options.Database"},
	{"ERR SELECT is not allowed in cluster mode", true, false, "leave Options.Database at 0"},
	{"DENIED", true, false, "the server is in protected mode: give it a password, or let it listen on the loopback address"},
	{"ERR max number of clients", false, false, "raise the server's maxclients, or lower Size"},
	{"ERR unknown command", false, false, "the server does not know this command"},
	{"LOADING", false, false, "the server is loading its data"},
	{"MASTERDOWN", false, false, "the server is a replica without its primary"},
	{"CLUSTERDOWN", false, false, "the cluster is down"},
	{"BUSY ", false, false, "a script runs; SCRIPT KILL or FUNCTION KILL ends it"},
	{"READONLY", false, false, "the server is a replica"},
	{"ERR", false, false, ""},
}

// refusedError is what Redis has answered, as far as it may be shown.
type refusedError struct {
	command string
	refusal
}

func (e *refusedError) Error() string {
	known := strings.TrimSpace(e.known)
	if known == "" {
		known = "refused"
	}
	if e.remedy == "" {
		return fmt.Sprintf("redisconn: %s: %s", e.command, known)
	}
	return fmt.Sprintf("redisconn: %s: %s (%s)", e.command, known, e.remedy)
}

func (e *refusedError) Unwrap() error { return redis.Error(strings.TrimSpace(e.known)) }

// refused makes an error of an answer. An unknown one is not shown: a script can
// answer with any words, and some servers repeat what they were sent.
func refused(command, text string) error {
	for _, r := range refusals {
		if strings.HasPrefix(text, r.known) {
			return &refusedError{command, r}
		}
	}
	return &refusedError{command: command}
}

// lasts marks an error of Open that a further try would not change. asks says that
// the next try asks for another login.
func lasts(err error, asks bool) error {
	if e, is := errors.AsType[*refusedError](err); is && e.permanent && !(e.ofLogin && asks) {
		return pools.Permanent(err)
	}
	return err
}
