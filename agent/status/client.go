package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Bounds of a question to the agent, which may hang.
const (
	askTime   = 2 * time.Second
	maxStatus = 8 << 20
)

// Client asks the agent of this node.
type Client struct {
	Socket      string
	Directories []string // where a receipt may be, for when the agent is not there
}

// Ask asks the agent or, when it gives no answer, reads the receipt. An error
// that wraps ErrNoReceipt says that nothing is known of this boot.
func (c Client) Ask(ctx context.Context) (Status, error) {
	s, noAnswer := c.Status(ctx)
	if noAnswer == nil {
		return s, nil
	}
	for _, directory := range c.Directories {
		receipt, err := ReadReceipt(directory)
		if errors.Is(err, ErrNoReceipt) {
			continue
		} else if err != nil {
			return Status{}, err
		}
		return receipt.alone(noAnswer), nil
	}
	return Status{}, fmt.Errorf("%w (%v)", ErrNoReceipt, noAnswer)
}

// alone is what a receipt says while the agent is silent. A node whose boot
// is done, and whose agent does not answer, ships no logs.
func (r *Receipt) alone(noAnswer error) Status {
	s := r.Status()
	if s.State == Done {
		s.State = Degraded
		s.Conditions = append(s.Conditions, Condition{Type: "Agent", Reason: "Silent", Message: noAnswer.Error()})
	}
	return s
}

// Status asks for the status. The error says that there was no answer.
func (c Client) Status(ctx context.Context) (Status, error) {
	body, err := c.do(ctx, http.MethodGet, "/status", askTime)
	if err != nil {
		return Status{}, err
	}
	var s Status
	if err := json.Unmarshal(body, &s); err != nil {
		return Status{}, fmt.Errorf("agent: answer is not a status: %v", err)
	} else if s.State == "" {
		return Status{}, errors.New("agent: answer is not a status: no state in it")
	}
	return s, nil
}

// Online puts the node in rotation, or takes it out, within the time that ctx
// leaves. It returns the node's state after it.
func (c Client) Online(ctx context.Context, online bool) (State, error) {
	path := "/offline"
	if online {
		path = "/online"
	}
	body, err := c.do(ctx, http.MethodPost, path, 5*askTime)
	return State(strings.TrimSpace(string(body))), err
}

func (c Client) do(ctx context.Context, method, path string, timeout time.Duration) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", c.Socket)
	}}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, method, "http://bootagent"+path, nil)
	if err != nil {
		return nil, fmt.Errorf("agent: %v", err)
	}
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, fmt.Errorf("agent: %v", noAnswer(err, c.Socket))
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxStatus))
	if err != nil {
		return nil, fmt.Errorf("agent: %v", noAnswer(err, c.Socket))
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("agent: %s", strings.TrimSpace(string(body)))
	}
	return body, nil
}

// noAnswer says in few words what a failed call means.
func noAnswer(err error, socket string) error {
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("no answer on %s", socket)
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return fmt.Errorf("%s: %v", socket, op.Err)
	}
	if request, ok := errors.AsType[*url.Error](err); ok { // its URL is none of anybody's
		err = request.Err
	}
	return fmt.Errorf("%s: %v", socket, err)
}
