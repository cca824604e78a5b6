package host

import "fmt"

// A Refusal is the error of a file that root does not read by a path on which
// somebody else decides. Its text says what to do.
type Refusal struct{ reason text }

// Error is the reason.
func (r *Refusal) Error() string { return r.reason.String() }

// An Irregular is the error of a path at which no regular file lies.
type Irregular struct{ Kind string } // "a FIFO"

// Error names what lies there.
func (i *Irregular) Error() string { return "it is " + i.Kind + ", not a regular file" }

// A text is put together when it is shown. Users are named only then: the threads
// that make it may have a foreign identity, under which the look-up may hang.
type text struct {
	format string
	args   []any
}

func (t text) String() string { return fmt.Sprintf(t.format, t.args...) }

// An explained is an error whose text is put together when it is shown.
type explained struct {
	text
	err error
}

func explain(err error, format string, args ...any) error {
	return &explained{text{format, args}, err}
}

func (e *explained) Error() string { return e.String() }
func (e *explained) Unwrap() error { return e.err }
