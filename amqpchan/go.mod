module github.com/utopia-go/pools/amqpchan

go 1.26.0

replace github.com/utopia-go/pools => ../

require (
	github.com/rabbitmq/amqp091-go v1.16.0
	github.com/utopia-go/pools v0.0.0-00010101000000-000000000000
)
