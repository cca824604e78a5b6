package host

import "fmt"

// A Refusal is the error of a file that root does not read by a path on which
// somebody else decides. Its text says what to do.
type Refusal struct{ reason Text }

// Error is the reason.
func (r *Refusal) Error() string { return r.reason.String() }

// An Irregular is the error of a path at which something else than a regular file lies.
type Irregular struct{ Kind string } // "a FIFO"

// Error names what lies there.
func (i *Irregular) Error() string { return "it is " + i.Kind + ", not a regular file" }

// A Text is put together when it is shown. Users and groups are named only then: the
// thread that makes the Text may have a foreign identity, under which the look-up of a
// name may hang or be refused.
type Text struct {
	format string
	args   []any
}

// Say is the Text of that format; see fmt.Sprintf.
func Say(format string, args ...any) Text { return Text{format, args} }

// IsZero reports whether t is empty.
func (t Text) IsZero() bool { return t.format == "" }

// String is the whole text.
func (t Text) String() string { return fmt.Sprintf(t.format, t.args...) }

// An explained is an error whose text is put together when it is shown.
type explained struct {
	Text
	err error
}

// Explain is err with a Text for its message; err is among args if it is to be shown.
func Explain(err error, format string, args ...any) error {
	return &explained{Say(format, args...), err}
}

func (e *explained) Error() string { return e.String() }
func (e *explained) Unwrap() error { return e.err }
