package sources

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/agent/profile"
	"github.com/tokenagent/tokenagent/sinks/safefile"
)

// yearLong is how long the token of a request lives where nobody says it.
const yearLong = 365 * 24 * time.Hour

// Login asks the pool for a long-lived token with condor_token_request, which waits
// until an administrator has approved it, and stores it in token_dir.
func (s *htcondorFetch) Login(ctx context.Context, req agent.Request, show func(Prompt)) (file string, err error) {
	if req.Lifetime == 0 {
		req.Lifetime = yearLong
	}
	switch {
	case req.Subject == "":
		return "", errors.New("the identity is missing, and without it the pool chooses one; write subject in the token block, as schedd@example.org")
	case len(req.Scope) == 0:
		return "", errors.New("the scope is missing, and a token without it may do everything; write scope in the token block, as [\"condor:/READ\"]")
	}
	target := safefile.New(safefile.Target{Path: s.heldPath(), Owner: host.Self(), Group: os.Getegid(), Mode: 0o600, CreateDir: true, CreateParents: true})
	if _, err := target.Check(); err != nil {
		return "", err // before an administrator is asked
	}
	text, err := s.request(ctx, req, show)
	if err != nil {
		return "", err
	}
	if err := asRequested(text, req); err != nil {
		return "", fmt.Errorf("the token that came back is not stored: %w", err)
	}
	_, err = target.Write(context.WithoutCancel(ctx), []byte(text.Reveal()+"\n"))
	return target.Target().Path, err
}

// asRequested holds the token against what was asked for: an administrator cannot
// change it, but a pool may cut its life, or have a wrong clock.
func asRequested(text agent.Secret, req agent.Request) error {
	decoded, err := profile.Decode(text.Reveal())
	if err != nil {
		return err
	}
	for _, p := range profile.Matches(decoded, agent.Request{Profile: condorProfile, Subject: req.Subject, Scope: req.Scope}) {
		return errors.New(p.String())
	}
	at, err := expiryClaim(decoded.Claims)
	switch {
	case err != nil:
		return err
	case at.IsZero():
		return errors.New("it never expires, though a lifetime was asked for")
	case !at.After(time.Now()):
		return fmt.Errorf("it ended %s; compare the clock of the pool's daemon with the one here, then log in again", at.UTC().Format(time.RFC3339))
	}
	return nil
}

// enqueued is what condor_token_request says when an administrator is to approve.
var enqueued = regexp.MustCompile(`approve request ([0-9]+)`)

// request runs condor_token_request. It prints the number of the request at once
// only to a terminal, so it is given one, which is not the person's.
func (s *htcondorFetch) request(ctx context.Context, req agent.Request, show func(Prompt)) (agent.Secret, error) {
	program, err := exec.LookPath("condor_token_request")
	if err != nil {
		return agent.Secret{}, fmt.Errorf("%w; install HTCondor (package condor)", err)
	}
	screen, terminal, err := newTerminal()
	if err != nil {
		return agent.Secret{}, fmt.Errorf("a terminal for %s: %w", program, err)
	}
	defer screen.Close()
	var complaint strings.Builder
	args := append(append([]string{}, s.target...), "-identity", req.Subject)
	c := exec.CommandContext(ctx, program, append(args, askedOf(req)...)...)
	c.Env = append(c.Environ(), knobs("SEC_TOKEN_DIRECTORY="+s.dir)...) // HTCondor's tools want the environment of who asks
	c.Stdout, c.Stderr = terminal, &complaint
	c.SysProcAttr = host.Alone()
	c.SysProcAttr.Setctty, c.SysProcAttr.Ctty = true, 1                              // standard output: the kernel ends it by SIGHUP when we are gone, however we end
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) } // whatever it has started holds the terminal too
	err = host.Launch(c.Start)
	terminal.Close()
	if err != nil {
		return agent.Secret{}, err
	}
	text := s.follow(screen, show)
	if err := c.Wait(); err != nil {
		return agent.Secret{}, fmt.Errorf("%s: %w: %s", program, err, firstOf(ctx.Err(), complaint.String()))
	}
	if text == "" {
		return agent.Secret{}, fmt.Errorf("%s ended without a token", program)
	}
	return agent.NewSecret(text), nil
}

// follow reads what the program prints until it ends: the number of the request, and
// the token. Lines longer than any token are passed over: a program whose output
// nobody reads would wait forever.
func (s *htcondorFetch) follow(screen io.Reader, show func(Prompt)) (text string) {
	lines := bufio.NewReaderSize(screen, agent.MaxText+len("\r\n"))
	for rest := false; ; {
		part, more, err := lines.ReadLine()
		if err != nil {
			return text
		}
		whole := !rest && !more
		if rest = more; !whole {
			continue
		}
		line := strings.TrimSpace(string(part))
		if found := enqueued.FindStringSubmatch(line); found != nil {
			show(Prompt{Request: found[1], Approve: "condor_token_request_approve " + strings.Join(s.target, " ") + " -reqid " + found[1]})
		}
		if agent.CheckBare(line) == nil && strings.Count(line, ".") == 2 && !strings.Contains(line, ":") {
			text = line
		}
	}
}

// firstOf is why the program ended: since the person gave up, or what it said last.
func firstOf(gaveUp error, said string) string {
	lines := strings.Split(strings.TrimSpace(said), "\n")
	switch {
	case gaveUp != nil:
		return "given up; the request lapses by itself"
	case lines[0] == "":
		return "it said nothing"
	}
	return lines[len(lines)-1]
}

// newTerminal is a terminal of its own: the end that a program writes to, and the
// one where that is read. It does not become the terminal of our session.
func newTerminal() (screen, terminal *os.File, err error) {
	screen, err = os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	number, err := unix.IoctlGetInt(int(screen.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(screen.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err == nil {
		terminal, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
	}
	if err != nil {
		return nil, nil, errors.Join(err, screen.Close())
	}
	return screen, terminal, nil
}
