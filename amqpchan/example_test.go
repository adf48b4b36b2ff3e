package amqpchan_test

import (
	"context"
	"fmt"
	"log"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/utopia-go/pools"
	"github.com/utopia-go/pools/amqpchan"
)

func Example() {
	pool, err := pools.New("events", amqpchan.New(amqpchan.Options{
		URL:     "amqp://guest:guest@127.0.0.1:5672/",
		Config:  amqp.Config{Properties: amqp.Table{"connection_name": "shop"}},
		Confirm: true,
	}), pools.Settings{Size: 50})
	if err != nil {
		log.Fatal(err)
	}
	defer pool.Close(context.Background())

	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	err = pool.Use(ctx, func(ch *amqpchan.Channel) error {
		sent, err := ch.PublishWithDeferredConfirmWithContext(ctx, "amq.topic", "user.created", false, false,
			amqp.Publishing{Body: []byte(`{"id": 7}`)})
		if err != nil {
			return err
		}
		acknowledged, err := sent.WaitContext(ctx)
		if err == nil && !acknowledged {
			err = fmt.Errorf("the server refused message %d", sent.DeliveryTag)
		}
		return err
	})
	if err != nil {
		log.Fatal(err)
	}
}
