package sinks

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strconv"
	"sync/atomic"

	"github.com/tokenagent/tokenagent/agent"
	"github.com/tokenagent/tokenagent/agent/config"
	"github.com/tokenagent/tokenagent/agent/host"
	"github.com/tokenagent/tokenagent/sinks/safefile"
	"github.com/tokenagent/tokenagent/sinks/tokendir"
)

// file is the sink of a fileBlock, and an agent.Store.
type file struct {
	safe      *safefile.File
	format    format
	directory *tokendir.Directory // of HTCondor, that the file lies in; nil for elsewhere
	written   agent.Token         // as Put wrote it; zero after a restart

	forStorage   bool        // XRootD's client may read it
	saidTooLarge bool        // for that client
	sweeping     atomic.Bool // its folder is being swept
}

func decodeFile(b *config.Block, req agent.Request) config.Sink {
	block := fileBlock{Mode: 0o600, Format: "token"}
	b.Decode(&block)
	validateFile(b, &block)
	warnOfXRootD(b, block, req)
	target := safefile.Target{Path: block.Path, Mode: block.Mode, CreateDir: block.CreateDir}
	var unsure error
	if !b.DefinitionsOnly() {
		unsure = give(b, block, &target)
	}
	s := &file{format: formatOf(b, block, req), safe: safefile.New(target)}
	s.forStorage = block.bare() && opensStorage(req)
	if block.Path == "" {
		return config.Sink{} // there is nowhere to look
	}
	s.directory = tokenDirectory(b, block.Path, target.Owner.UID)
	warnOfOtherTokens(b, req, s.directory)
	s.validatePlace(b, block, unsure)
	sink := config.Sink{Target: s.target()}
	if !b.Wrong("owner") {
		sink.Owner = block.Owner
	}
	if s.directory != nil && !b.Wrong("path") && !b.Wrong("mode") && !b.Wrong("format") && !b.Wrong("template") { // HTCondor passes over a file with a fault
		sink.Condor, sink.CondorUID = true, s.directory.Reader.UID
	}
	return sink
}

// target is what the file is known by.
func (s *file) target() agent.Target {
	path := s.path()
	return agent.Target{Sink: s, Name: path, Queue: filepath.Dir(path), Path: path}
}

func (s *file) path() string { return s.safe.Target().Path }

// validatePlace reports what is wrong with the place of the file.
func (s *file) validatePlace(b *config.Block, block fileBlock, unsure error) {
	ownerOK := true
	if s.directory != nil {
		ownerOK = validateForCondor(b, block, *s.directory, s.safe.Target().Owner.UID)
	} else if wideOpen(b, block) {
		b.Warn("mode", "the mode is wide open", `others could read the token, or the group write one; usual are "0600" and, for readers in a group, "0640"`)
	}
	if b.DefinitionsOnly() || !ownerOK || b.Wrong("owner") || b.Wrong("group") {
		return // the folder may have the right owner
	}
	s.safe = visit(b, s.safe.Target(), unsure)
}

// wideOpen reports whether others than the owner and the group could read the file, or
// others than the owner write it. A folder that keeps them out makes up for its mode.
func wideOpen(b *config.Block, block fileBlock) bool {
	const othersRead, groupWrites = 0o007, 0o020
	if block.Mode&othersRead == 0 || block.Mode&groupWrites != 0 || b.DefinitionsOnly() {
		return block.Mode&(othersRead|groupWrites) != 0
	}
	folder := filepath.Dir(block.Path)
	kept := false
	answered := b.Look(folder, func() { kept = host.PassedByFew(folder) })
	return !answered || !kept
}

// Put makes t the content of the file, in its format.
func (s *file) Put(ctx context.Context, t agent.Token) (agent.Written, error) {
	if s.holds(t) {
		return agent.Written{Mark: s.mark()}, nil
	}
	content, err := s.format.render(t, agent.Now(ctx))
	if err != nil {
		return agent.Written{}, &agent.Fault{Kind: agent.Writing, Err: fmt.Errorf("%s: %w", s.path(), err)}
	}
	r, err := s.safe.Write(ctx, content)
	w := agent.Written{Warnings: append(r.Warnings, s.tooLarge(content)...)}
	if err != nil {
		return w, &agent.Fault{Kind: agent.Writing, Err: err}
	}
	s.written = t
	w.Changed, w.Mark = r.Changed, s.mark()
	return w, nil
}

// mark is the safefile.Record of the file.
func (s *file) mark() json.RawMessage {
	mark, _ := json.Marshal(s.safe.Record()) // numbers, strings and times of this century
	return mark
}

// holds reports whether the token is there as it was written. The content is not rendered
// for that: its expires_in would differ by now.
func (s *file) holds(t agent.Token) bool {
	if s.written.IsZero() || !s.written.Secret.Equal(t.Secret) || !s.written.Expires.Equal(t.Expires) {
		return false
	}
	difference, err := s.safe.Look()
	return difference == "" && err == nil
}

// Look says how the file differs from what was put there; "" if it does not.
func (s *file) Look(context.Context) (difference string, err error) { return s.safe.Look() }

// Read returns the text of the token that lies in the file.
func (s *file) Read(context.Context) (agent.Secret, error) {
	content, err := s.safe.Read()
	if foreign, ok := errors.AsType[*safefile.Foreign](err); ok {
		content, err = s.readAs(foreign.UID)
	}
	if err != nil {
		return agent.Secret{}, err
	}
	text, err := s.format.token(content)
	if err != nil {
		return agent.Secret{}, &fs.PathError{Op: "read", Path: s.path(), Err: err}
	}
	return agent.NewSecret(text), nil
}

// overflowGID is nogroup or nobody, which opens nothing.
const overflowGID = 65534

// readAs reads in the folder of a user who was not looked up, since only the definitions
// were loaded: for commands that read the files without an agent.
func (s *file) readAs(uid int) ([]byte, error) {
	owner, err := (&host.Database{}).User(strconv.Itoa(uid))
	if err != nil {
		return nil, err
	}
	if owner.GID == host.NoGroup {
		owner.GID = overflowGID
	}
	target := s.safe.Target()
	target.Owner, target.Group = host.Identity{UID: owner.UID, GID: owner.GID}, owner.GID
	return safefile.New(target).Read()
}

// Adopt takes the file for what this sink has put, if it is as marked.
func (s *file) Adopt(_ context.Context, mark json.RawMessage) (difference string, err error) {
	var r safefile.Record
	if err := json.Unmarshal(mark, &r); err != nil {
		return "", fmt.Errorf("%s: its record: %w", s.path(), err)
	}
	return s.safe.Adopt(r)
}

// Remove removes the file, if it is as it was put.
func (s *file) Remove(ctx context.Context) error {
	if err := s.safe.Remove(ctx); err != nil {
		return &agent.Fault{Kind: agent.Writing, Err: err}
	}
	return nil
}
