package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"io"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

// Every tokenagent that the tests of this package start is this test binary under
// that name. Whoever starts it and however, it comes through watchedMain, which
// keeps a copy of what it prints, of what it logs at level debug, and of what its
// control socket answers. When the tests have ended, TestMain searches all of that
// for secrets (scan_test.go). Only a machine and a container run the program as it
// is shipped; their tests hand over what it has printed.

func TestMain(m *testing.M) {
	testscript.Main(watchedTests{m}, map[string]func(){"tokenagent": programUnderTest, "leaky": leakyMain})
}

// watchedTests are all tests, and the search for secrets after them.
type watchedTests struct{ *testing.M }

func (w watchedTests) Run() int {
	if signal.Ignored(syscall.SIGHUP) { // by nohup; the programs would inherit it
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	bin, _, _ := strings.Cut(os.Getenv("PATH"), ":") // testscript.Main has put the folder of the program there
	runs, err := makeRuns(filepath.Dir(bin))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tapHere(runs)
	stop := watchProcesses()
	code := w.M.Run()
	stop()
	found := search(runs, known)
	for _, leak := range found {
		fmt.Fprintln(os.Stderr, "--- FAIL: a secret is shown:", leak)
	}
	if len(found) > 0 {
		return 1
	}
	return code
}

// makeRuns makes the folder that every user's tokenagent leaves its copy in.
func makeRuns(parent string) (string, error) {
	runs := filepath.Join(parent, "runs")
	if err := os.Mkdir(runs, 0o700); err != nil {
		return "", err
	}
	return runs, os.Chmod(runs, 0o1777)
}

// watchedMain is main with a copy of all that it shows.
func watchedMain() {
	if os.Getpid() == firstProcess { // which starts itself again
		main()
	}
	program, err := os.Executable()
	if err == nil {
		err = watchedBy(filepath.Join(filepath.Dir(filepath.Dir(program)), "runs"))
	}
	if err != nil { // better a test that fails than one that is not watched
		fmt.Fprintln(os.Stderr, "watched:", err)
		os.Exit(99)
	}
	stdout, stderr := &copied{os.Stdout, lines{place: "stdout"}}, &copied{os.Stderr, lines{place: "stderr"}}
	code := run(os.Args[1:], os.Stdin, stdout, stderr)
	stdout.end()
	stderr.end()
	os.Exit(code)
}

// theCopy is that of this process.
var theCopy *recording

// watchedBy begins the copy of this process.
func watchedBy(runs string) (err error) {
	if theCopy, err = newRecording(runs, os.Args); err != nil {
		return err
	}
	setLevel = tapLog
	listen := listenControl
	listenControl = func(path string, group int) (net.Listener, error) {
		l, err := listen(path, group)
		return copiedListener{l}, err
	}
	return nil
}

// tapHere copies what is logged when tests call run in their own process.
func tapHere(runs string) {
	var err error
	if theCopy, err = newRecording(runs, []string{"in the process of the tests"}); err != nil {
		panic(err)
	}
	setLevel = tapLog
}

// runHere is run in the process of the tests, watched as well.
func runHere(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	var out, errs bytes.Buffer
	code := run(args, stdin, io.MultiWriter(stdout, &out), io.MultiWriter(stderr, &errs))
	here := recorded{"argv": "tokenagent " + strings.Join(args, " ") + " (here)"}
	for place, text := range map[string]string{"stdout": out.String(), "stderr": errs.String()} {
		if !here.may(place) {
			watchText(here["argv"]+": "+place, text)
		}
	}
	return code
}

// copied is a stream with a copy. It is a stream of the operating system still,
// and so a terminal or the journal where it was one.
type copied struct {
	*os.File
	lines
}

func (c *copied) Write(text []byte) (int, error) {
	c.add(text)
	return c.File.Write(text)
}

// A copiedListener keeps a copy of what its connections are answered.
type copiedListener struct{ net.Listener }

func (l copiedListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &copiedConn{c, lines{place: "control"}}, nil
}

type copiedConn struct {
	net.Conn
	lines
}

func (c *copiedConn) Write(text []byte) (int, error) {
	c.add(text)
	return c.Conn.Write(text)
}

func (c *copiedConn) Close() error {
	c.end()
	return c.Conn.Close()
}

// lines are what is shown at a place, and copied as soon as a line is whole.
type lines struct {
	place string
	mu    sync.Mutex
	begun []byte // the last line, which has not ended
}

func (l *lines) add(text []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.begun = append(l.begun, text...)
	whole := bytes.LastIndexByte(l.begun, '\n') + 1
	theCopy.add(l.place, l.begun[:whole])
	l.begun = append([]byte(nil), l.begun[whole:]...)
}

func (l *lines) end() { l.add([]byte("\n")) }

// tapLog is setLevel for a log whose entries are copied, also those that the level
// keeps from being written.
func tapLog(log *logrus.Logger, level logrus.Level) {
	f := log.Formatter
	if t, is := f.(*tap); is {
		f = t.Formatter
	}
	log.SetFormatter(&tap{f, level})
	log.SetLevel(logrus.TraceLevel)
}

type tap struct {
	logrus.Formatter
	level logrus.Level
}

func (t *tap) Format(e *logrus.Entry) ([]byte, error) {
	line, err := t.Formatter.Format(e)
	theCopy.add("log", line)
	if e.Level > t.level {
		return nil, err
	}
	return line, err
}

// A recording is a file of what one process has shown: frames of a place, a length
// and a text. It is written through memory, so that it also has what a process has
// shown that is killed, needs no descriptor, and hides from strace. What was shown
// before, but for times, is not kept again.
type recording struct {
	runs   string // the folder of its files
	argv   string
	mu     sync.Mutex
	memory []byte
	used   int
	seen   map[uint64]bool
	seed   maphash.Seed
}

const (
	recordedInOne = 8 << 20 // bytes of a file, of which only what is used takes room
	frameHead     = 1 + 4
)

// framePlaces are what the first byte of a frame names.
var framePlaces = []string{"", "argv", "stdout", "stderr", "log", "control"}

func newRecording(runs string, argv []string) (*recording, error) {
	folder, err := os.Getwd()
	if err != nil {
		folder = "a folder that is gone"
	}
	r := &recording{runs: runs, argv: strings.Join(argv, " ") + " (in " + folder + ")", seen: map[uint64]bool{}, seed: maphash.MakeSeed()}
	return r, r.next()
}

// next begins another file.
func (r *recording) next() error {
	file, err := os.CreateTemp(r.runs, "")
	if err != nil {
		return err
	}
	defer file.Close()
	if err := file.Truncate(recordedInOne); err != nil {
		return err
	}
	if r.memory != nil {
		_ = unix.Munmap(r.memory)
	}
	r.memory, err = unix.Mmap(int(file.Fd()), 0, recordedInOne, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("mmap %s: %w", file.Name(), err)
	}
	r.used = 0
	r.frame("argv", []byte(r.argv))
	return nil
}

// add keeps the text, which may be any part of what is shown there.
func (r *recording) add(place string, text []byte) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, piece := range pieces(text) {
		sum := maphash.Bytes(r.seed, append(withoutDigits(piece), place...))
		if !r.seen[sum] {
			r.seen[sum] = true
			r.frame(place, piece)
		}
	}
}

// withoutDigits is what stays when times, ports and counts change.
func withoutDigits(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if '0' <= r && r <= '9' {
			return -1
		}
		return r
	}, text)
}

// pieces are the text, cut before each line and each object of JSON.
func pieces(text []byte) (all [][]byte) {
	for line := range bytes.Lines(text) {
		for {
			at := bytes.Index(line, []byte(`,{"`))
			if at < 0 {
				break
			}
			all, line = append(all, line[:at+1]), line[at+1:]
		}
		all = append(all, line)
	}
	return all
}

// frame appends; its first byte comes last, as the process may be killed. A frame
// that no file can hold is cut.
func (r *recording) frame(place string, text []byte) {
	text = text[:min(len(text), recordedInOne/2)]
	if r.used+2*frameHead+len(text) > len(r.memory) {
		if err := r.next(); err != nil {
			panic(err) // rather than not to watch
		}
	}
	at := r.memory[r.used:]
	binary.LittleEndian.PutUint32(at[1:], uint32(len(text)))
	copy(at[frameHead:], text)
	at[0] = byte(slices.Index(framePlaces, place))
	r.used += frameHead + len(text)
}

// A recorded is all that one process has shown, by place.
type recorded map[string]string

// readRecording reads what a process has left, which may still run.
func readRecording(path string) (recorded, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	found := map[string]*strings.Builder{}
	head := make([]byte, frameHead)
	for {
		if _, err := io.ReadFull(file, head); err != nil || head[0] == 0 || int(head[0]) >= len(framePlaces) {
			break
		}
		text := make([]byte, binary.LittleEndian.Uint32(head[1:]))
		if _, err := io.ReadFull(file, text); err != nil {
			return nil, err
		}
		place := framePlaces[head[0]]
		if found[place] == nil {
			found[place] = new(strings.Builder)
		}
		found[place].Write(text)
	}
	all := recorded{}
	for place, text := range found {
		all[place] = text.String()
	}
	return all, nil
}
