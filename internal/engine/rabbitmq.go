package engine

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// RabbitMQ starts a RabbitMQ, whose connections, as they are counted, are the
// channels of its clients. It lets in guest, with the password guest.
func RabbitMQ(ctx context.Context) (*Engine, error) {
	script, err := Find("rabbitmq-server")
	if err != nil {
		return nil, err
	}
	return launch(ctx, func(folder, address, host, port string) (*Engine, error) {
		// Erlang's distribution and its name server want ports of their own.
		var ports []string
		for range 2 {
			other, err := freeAddress()
			if err != nil {
				return nil, err
			}
			_, p, _ := net.SplitHostPort(other)
			ports = append(ports, p)
		}
		config := filepath.Join(folder, "rabbitmq.conf")
		if err := os.WriteFile(config, []byte("disk_free_limit.absolute = 1MB\n"), 0o600); err != nil {
			return nil, err
		}
		admin := &rabbitAdmin{address: address}
		env := append(os.Environ(), "HOME="+folder,
			"RABBITMQ_NODENAME=rabbit@localhost", "RABBITMQ_NODE_IP_ADDRESS="+host, "RABBITMQ_NODE_PORT="+port,
			"RABBITMQ_DIST_PORT="+ports[0], "ERL_EPMD_PORT="+ports[1], "ERL_EPMD_ADDRESS="+host,
			"RABBITMQ_MNESIA_BASE="+filepath.Join(folder, "mnesia"), "RABBITMQ_LOG_BASE="+folder, "RABBITMQ_LOGS=-",
			"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(folder, "plugins"), "RABBITMQ_CONFIG_FILE="+config,
			"RABBITMQ_ALLOW_INPUT=1", // its shell is how it is asked
		)
		e := &Engine{Name: "rabbitmq", admin: admin, output: new(output)}
		admin.output = e.output
		e.command = func() *exec.Cmd {
			cmd := exec.Command(script)
			cmd.Env, cmd.Dir = env, folder
			cmd.Stdin = admin.input()
			return cmd
		}
		e.cleanUp = func() error { // the name server goes on by itself
			ctx, cancel := context.WithTimeout(context.Background(), patience)
			defer cancel()
			return Eventually(ctx, func() error {
				cmd := exec.Command("epmd", "-kill")
				cmd.Env = env
				if out, err := cmd.CombinedOutput(); err != nil && !strings.Contains(string(out), "Cannot connect") {
					return fmt.Errorf("epmd: %w: %s", err, out)
				}
				return nil
			})
		}
		return e, nil
	})
}

// rabbitAdmin asks in the server's own Erlang shell.
type rabbitAdmin struct {
	address string
	output  *output

	mu        sync.Mutex
	stdin     *os.File
	questions int
}

// input is what a shell that is about to start reads, until its server ends.
func (a *rabbitAdmin) input() io.Reader {
	r, w, err := os.Pipe()
	if err != nil {
		return nil // without input it ends, and says so
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stdin != nil {
		a.stdin.Close()
	}
	a.stdin = w
	return r
}

// ask has the shell evaluate an expression, which must be a number.
func (a *rabbitAdmin) ask(ctx context.Context, expression string) (n int, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.questions++
	if _, err := fmt.Fprintf(a.stdin, "io:format(\"~nanswer~w: ~w.~n\", [%d, %s]).\n", a.questions, expression); err != nil {
		return 0, err
	}
	err = Eventually(ctx, func() error {
		_, answer, ok := strings.Cut(a.output.String(), fmt.Sprintf("answer%d: ", a.questions))
		if !ok || !strings.Contains(answer, ".") {
			return errors.New("the shell does not answer")
		}
		answer, _, _ = strings.Cut(answer, ".")
		n, err = strconv.Atoi(answer)
		return err
	})
	return n, err
}

func (a *rabbitAdmin) ping(context.Context) error {
	conn, err := amqp.DialConfig("amqp://guest:guest@"+a.address+"/", amqp.Config{Dial: amqp.DefaultDial(time.Second)})
	if err != nil {
		return err
	}
	return conn.Close()
}

func (a *rabbitAdmin) connections(ctx context.Context) (int, error) {
	return a.ask(ctx, "length(rabbit_channel:list())")
}

func (a *rabbitAdmin) terminate(ctx context.Context, n int) error {
	_, err := a.ask(ctx, fmt.Sprintf("length([rabbit_networking:close_connection(C, \"by the test\") || C <- lists:sublist(rabbit_networking:connections(), %d)])", n))
	return err
}

func (a *rabbitAdmin) close() {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stdin != nil {
		a.stdin.Close()
	}
}

// RabbitConnections asks a RabbitMQ for its connections, each of which may
// have many channels.
func RabbitConnections(ctx context.Context, e *Engine) (int, error) {
	return e.admin.(*rabbitAdmin).ask(ctx, "length(rabbit_networking:connections())")
}

// RabbitConnectionsOf counts those of one user.
func RabbitConnectionsOf(ctx context.Context, e *Engine, username string) (int, error) {
	return e.admin.(*rabbitAdmin).ask(ctx, fmt.Sprintf("length([C || C <- rabbit_networking:connections(), (catch rabbit_reader:info(C, [user])) =:= [{user, <<%q>>}]])", username))
}

// AddRabbitUser adds a user who may do everything, with the name as password.
func AddRabbitUser(ctx context.Context, e *Engine, name string) error {
	_, err := e.admin.(*rabbitAdmin).ask(ctx, fmt.Sprintf("begin ok = rabbit_auth_backend_internal:add_user(<<%[1]q>>, <<%[1]q>>, <<\"test\">>), "+
		"ok = rabbit_auth_backend_internal:set_permissions(<<%[1]q>>, <<\"/\">>, <<\".*\">>, <<\".*\">>, <<\".*\">>, <<\"test\">>), 1 end", name))
	return err
}

// SetRabbitPassword changes a user's password.
func SetRabbitPassword(ctx context.Context, e *Engine, name, password string) error {
	_, err := e.admin.(*rabbitAdmin).ask(ctx, fmt.Sprintf("begin ok = rabbit_auth_backend_internal:change_password(<<%q>>, <<%q>>, <<\"test\">>), 1 end", name, password))
	return err
}

// LimitRabbitUser sets how many channels a user may have.
func LimitRabbitUser(ctx context.Context, e *Engine, name string, channels int) error {
	_, err := e.admin.(*rabbitAdmin).ask(ctx, fmt.Sprintf("begin rabbit_auth_backend_internal:set_user_limits(<<%q>>, "+
		"#{<<\"max-channels\">> => %d}, <<\"test\">>), 1 end", name, channels))
	return err
}

// RabbitAlarm raises or clears the memory alarm, as RabbitMQ does by itself
// when it runs out of memory.
func RabbitAlarm(ctx context.Context, e *Engine, on bool) error {
	expression := "begin rabbit_alarm:set_alarm({{resource_limit, memory, node()}, []}), 1 end"
	if !on {
		expression = "begin rabbit_alarm:clear_alarm({resource_limit, memory, node()}), 1 end"
	}
	_, err := e.admin.(*rabbitAdmin).ask(ctx, expression)
	return err
}
