package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// options are what the flags say.
type options struct {
	redis                 *url.URL // nil: the embedded one
	goroutines, size, ops int
	timeout               time.Duration
	debug                 string        // where the pools' page is served; "": nowhere
	during                time.Duration // instead of ops
}

// parse reads the flags. Each of its errors is one line. It writes the help to
// stdout and then returns flag.ErrHelp.
func parse(args []string, stdout io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("quickstart", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the error is returned and printed once
	server := flags.String("redis", "", "`address` of a Redis: HOST:PORT, or redis://USER:PASSWORD@HOST:PORT/DB\n"+
		"(rediss:// with TLS); its keys key-0, key-1 and so on are overwritten,\n"+
		"and deleted at the end (default: a Redis in this process)")
	flags.IntVar(&o.goroutines, "goroutines", 100, "how many goroutines share the connections")
	flags.IntVar(&o.size, "size", 10, "how many connections may be open at once")
	flags.IntVar(&o.ops, "ops", 100_000, "how many `operations`: one half writes, one half reads")
	flags.DurationVar(&o.timeout, "timeout", 5*time.Second, "the longest that a connect or a reply may take")

	flags.StringVar(&o.debug, "debug", "", "serve a page that shows the pool at an `address` as :6060")
	flags.DurationVar(&o.during, "for", 0, "instead of -ops: keep the pool busy for so long, now more and now less")

	err := flags.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintln(stdout, "Usage of quickstart:")
		flags.SetOutput(stdout)
		flags.PrintDefaults()
		return o, err
	case err != nil:
		return o, err
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q; there are only flags, see -h", flags.Arg(0))
	case o.goroutines < 1:
		return o, fmt.Errorf("-goroutines is %d; give at least 1", o.goroutines)
	case o.size < 1:
		return o, fmt.Errorf("-size is %d; give at least 1", o.size)
	case o.ops < 2:
		return o, fmt.Errorf("-ops is %d; give at least 2, a write and a read", o.ops)
	case o.during < 0:
		return o, fmt.Errorf("-for is %v; give more than zero, like 10m", o.during)
	case o.timeout <= 0:
		return o, fmt.Errorf("-timeout is %v; give more than zero, like 5s", o.timeout)
	}
	if given(flags, "redis") { // an empty one is wrong too
		if o.redis, err = address(*server); err != nil {
			return o, fmt.Errorf("-redis %w", err)
		}
	}
	return o, nil
}

func given(flags *flag.FlagSet, name string) (found bool) {
	flags.Visit(func(f *flag.Flag) { found = found || f.Name == name })
	return found
}

var database = regexp.MustCompile(`^(/\d*)?$`)

// address makes a URL of HOST:PORT or of a URL. Its errors do not repeat
// text: there may be a password in it.
func address(text string) (*url.URL, error) {
	if !strings.Contains(text, "://") {
		host, port, err := net.SplitHostPort(text)
		if n, bad := strconv.ParseUint(port, 10, 16); err != nil || bad != nil || n == 0 {
			return nil, errors.New("is neither HOST:PORT nor a URL like redis://HOST:PORT/DB")
		}
		return &url.URL{Scheme: "redis", Host: net.JoinHostPort(host, port)}, nil
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return nil, errors.New("is not a URL like redis://HOST:PORT/DB")
	case u.Scheme != "redis" && u.Scheme != "rediss":
		return nil, fmt.Errorf("is a URL of scheme %q; give redis:// or, with TLS, rediss://", u.Scheme)
	case u.Hostname() == "":
		return nil, errors.New("is a URL without a host; give redis://HOST:PORT/DB")
	case !database.MatchString(u.Path):
		return nil, errors.New("is a URL whose path is not a database number; give redis://HOST:PORT/DB")
	}
	return u, nil
}
