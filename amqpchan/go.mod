module github.com/utopia-go/pools/amqpchan

go 1.26.0

require (
	github.com/rabbitmq/amqp091-go v1.16.0
	github.com/utopia-go/pools v0.1.0
)
