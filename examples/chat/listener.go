package main

import (
	"context"
	"log"
	"strings"
	"time"

	"github.com/gomodule/redigo/redis"
)

// silence is how long nothing may be heard, not even the answer to a ping.
const silence = 15 * time.Second

// listen hears what is published, until ctx ends. When its connection ends it
// takes another, and the rooms fetch what was published in between.
func (s *server) listen(ctx context.Context) error {
	for pause := time.Duration(0); ; pause = time.Second {
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return nil
		}
		if err := s.hear(ctx); err != nil && ctx.Err() == nil {
			log.Printf("chat: nobody listens, trying again in %v: %v", time.Second, err)
		}
	}
}

func (s *server) hear(ctx context.Context) error {
	conn, err := s.store.own(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	pubsub := redis.PubSubConn{Conn: conn}
	if err := pubsub.PSubscribe(channels + "*"); err != nil {
		return err
	}
	// A network that has fallen silent says nothing, not even that: so it is
	// asked, and answers, or Receive gives up.
	ticker := time.NewTicker(silence / 3)
	defer ticker.Stop()
	over := make(chan struct{})
	defer close(over)
	go func() {
		for {
			select {
			case <-ticker.C:
				_ = pubsub.Ping("")
			case <-over:
				return
			}
		}
	}()
	for {
		switch heard := pubsub.ReceiveWithTimeout(silence).(type) {
		case redis.Subscription:
			if err := s.catchUp(ctx); err != nil {
				return err
			}
			s.listening.Do(func() { close(s.listens) })
		case redis.Message:
			r := s.room(strings.TrimPrefix(heard.Channel, channels))
			if m, err := decode(string(heard.Data)); err != nil {
				log.Print("chat: ", err)
			} else if r != nil {
				if err := r.hear(ctx, m); err != nil {
					return err
				}
			}
		case error:
			return heard
		}
	}
}
