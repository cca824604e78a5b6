package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
)

const (
	dialTimeout = 2 * time.Second
	largest     = 256 << 20 // of an answer: the states of more tokens than one agent keeps
)

// A Client asks the agent behind one socket.
type Client struct {
	path string
	http *http.Client
}

// NewClient returns a Client for the socket at path. Nothing is opened yet.
func NewClient(path string) *Client {
	dialer := net.Dialer{Timeout: dialTimeout}
	return &Client{path: path, http: &http.Client{
		Timeout: answerTimeout + 2*readTimeout,
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return dialer.DialContext(ctx, "unix", path)
			},
			DisableKeepAlives: true,
		},
	}}
}

// Path is the path of the socket.
func (c *Client) Path() string { return c.path }

// Status asks for the states of the tokens that the names select; no name: all.
func (c *Client) Status(ctx context.Context, names ...string) ([]agent.Status, error) {
	return ask[[]agent.Status](ctx, c, "GET /status", names...)
}

// Refresh has the tokens that the names select issued now, waits for that, and returns their
// states; no name: all.
func (c *Client) Refresh(ctx context.Context, names ...string) ([]agent.Status, error) {
	return ask[[]agent.Status](ctx, c, "POST /refresh", names...)
}

// Leftovers are the agent's files that no definition has any more.
func (c *Client) Leftovers(ctx context.Context) ([]Leftover, error) {
	return ask[[]Leftover](ctx, c, "GET /leftovers")
}

// Refused is since when the configuration on disk is refused and the agent uses the old one;
// zero: it is the one in use.
func (c *Client) Refused(ctx context.Context) (time.Time, error) {
	return ask[time.Time](ctx, c, "GET /refused")
}

// Heartbeat is when the agent's loop last went round; zero before its first round. An agent
// whose loop hangs answers too.
func (c *Client) Heartbeat(ctx context.Context) (time.Time, error) {
	return ask[time.Time](ctx, c, "GET /heartbeat")
}

// Follows are the absolute paths, without symbolic links, of the files and folders
// with the agent's configuration.
func (c *Client) Follows(ctx context.Context) ([]string, error) {
	return ask[[]string](ctx, c, "GET /configuration")
}

// Keep has the agent see to the keys of its issuers now, and waits for that.
func (c *Client) Keep(ctx context.Context) error {
	_, err := ask[bool](ctx, c, "POST /keep")
	return err
}

// Reload has the configuration read again. A configuration with faults is a
// [*Refusal].
func (c *Client) Reload(ctx context.Context) (agent.Replaced, error) {
	return ask[agent.Replaced](ctx, c, "POST /reload")
}

// ask is the answer to a question such as "GET /status". Its error is ErrNoAgent, a
// [*Refusal], or says what is wrong with the socket.
func ask[T any](ctx context.Context, c *Client, question string, names ...string) (found T, err error) {
	method, route, _ := strings.Cut(question, " ")
	address := "http://agent" + route + "?" + url.Values{"name": names}.Encode()
	req, err := http.NewRequestWithContext(ctx, method, address, http.NoBody)
	if err != nil {
		return found, err
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return found, c.explain(err)
	}
	defer resp.Body.Close()
	err = c.read(resp, &found)
	return found, err
}

func (c *Client) read(resp *http.Response, found any) error {
	answer := json.NewDecoder(io.LimitReader(resp.Body, largest))
	if resp.StatusCode != http.StatusOK {
		refusal := new(Refusal)
		if err := answer.Decode(refusal); err != nil || refusal.Text == "" {
			return fmt.Errorf("control socket %s: it answers %s, which no tokenagent of this version does", c.path, resp.Status)
		}
		switch {
		case resp.StatusCode == http.StatusServiceUnavailable: // see timeoutBody
			return fmt.Errorf("%s; see %s", refusal.Text, c.status())
		case refusal.Reason == "":
			return errors.New(refusal.Text)
		}
		return refusal
	}
	if err := answer.Decode(found); err != nil {
		return fmt.Errorf("control socket %s: its answer cannot be read: %w", c.path, err)
	}
	return nil
}

// status is the command that shows what the agent is doing.
func (c *Client) status() string { return "tokenagent status --control " + host.ShellWord(c.path) }

// explain says what is wrong with the socket.
func (c *Client) explain(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ECONNREFUSED), errors.Is(err, syscall.ENOTDIR):
		return fmt.Errorf("control socket %s: %w", c.path, ErrNoAgent)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("control socket %s: permission denied; run this as the agent's user or root, or set control_group in the agent block", c.path)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("control socket %s: no answer in time; the agent may still be working on it; see %s", c.path, c.status())
	}
	if u, ok := errors.AsType[*url.Error](err); ok { // its text has a URL that nobody typed
		err = u.Err
	}
	return fmt.Errorf("control socket %s: %w", c.path, err)
}
