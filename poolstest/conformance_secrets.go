package poolstest

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/utopia-go/pools"
)

// shortest is the length of the shortest secret. Less may be anywhere by chance.
const shortest = 4

// spilled collects which errors tell secrets. They are reported when the part
// ends, since the pool's calls may return at any time.
type spilled struct {
	mu  sync.Mutex
	all []string
}

// watch has the errors of all connectors looked at.
func (s *trial[T]) watch() {
	s.t.Helper()
	for i, secret := range s.Secrets {
		if len(secret) < shortest {
			s.t.Fatalf("Subject.Secrets[%d] has %d bytes, and may be in an error by chance; give at least %d", i, len(secret), shortest)
		}
	}
	s.t.Cleanup(func() {
		s.spilled.mu.Lock()
		defer s.spilled.mu.Unlock()
		for _, text := range s.spilled.all {
			s.t.Error(text)
		}
	})
	s.Connector = s.watched("", s.Connector)
	failing := make(map[string]pools.Connector[T], len(s.Failing))
	for name, c := range s.Failing {
		if c.Close == nil {
			c.Close = closeByPool
		}
		failing[name] = s.watched(" with "+name, c)
	}
	s.Failing = failing
}

func (s *trial[T]) watched(with string, c pools.Connector[T]) pools.Connector[T] {
	if open := c.Open; open != nil {
		c.Open = func(ctx context.Context) (T, error) {
			resource, err := open(ctx)
			s.look("Open"+with, err)
			return resource, err
		}
	}
	for name, f := range map[string]*func(context.Context, T) error{"Close": &c.Close, "Check": &c.Check, "Reset": &c.Reset} {
		if call := *f; call != nil {
			*f = func(ctx context.Context, resource T) error {
				err := call(ctx, resource)
				s.look(name+with, err)
				return err
			}
		}
	}
	for name, f := range map[string]*func(T) error{"Peek": &c.Peek, "Unfinished": &c.Unfinished} {
		if call := *f; call != nil {
			*f = func(resource T) error {
				err := call(resource)
				s.look(name+with, err)
				return err
			}
		}
	}
	return c
}

// look notes if an error tells a secret.
func (s *trial[T]) look(name string, err error) {
	for _, text := range texts(err) {
		for i, secret := range s.Secrets {
			for _, form := range []string{secret, url.PathEscape(secret), url.QueryEscape(secret), strings.Trim(strconv.Quote(secret), `"`)} {
				if before, after, is := strings.Cut(text, form); is {
					s.spilled.add(fmt.Sprintf("an error of %s, or one that it wraps, contains Subject.Secrets[%d]: %s[the secret]%s; logs and pages show such errors: have it name the setting that is wrong, and quote nothing of it", name, i, s.hide(before), s.hide(after)))
					return
				}
			}
		}
	}
}

// hide returns a text without its secrets.
func (s *trial[T]) hide(text string) string {
	for _, secret := range s.Secrets {
		text = strings.ReplaceAll(text, secret, "[the secret]")
	}
	return text
}

// add keeps one of each.
func (s *spilled) add(text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if slices.Contains(s.all, text) {
		return
	}
	s.all = append(s.all, text)
}

// texts are all that an error can be printed as, and all that it wraps.
func texts(err error) []string {
	if err == nil {
		return nil
	}
	all := []string{err.Error(), fmt.Sprintf("%+v", err)}
	switch e := err.(type) {
	case interface{ Unwrap() error }:
		all = append(all, texts(e.Unwrap())...)
	case interface{ Unwrap() []error }:
		for _, e := range e.Unwrap() {
			all = append(all, texts(e)...)
		}
	}
	return all
}
