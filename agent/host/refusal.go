package host

import "fmt"

// A Refusal is the error of a path by which others could make root read what they choose. Its
// text says what to do.
type Refusal struct{ reason Text }

// Error is the reason.
func (r *Refusal) Error() string { return r.reason.String() }

// An Irregular is the error of a path where something other than a regular file lies.
type Irregular struct{ Kind string } // "a FIFO"

// Error names what lies there.
func (i *Irregular) Error() string { return "it is " + i.Kind + ", not a regular file" }

// A Text is formatted when it is shown. Users and groups are looked up only then: the thread that
// makes the Text may have another identity, under which the look-up may hang or fail.
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

// An explained is an error with a Text.
type explained struct {
	Text
	err error
}

// Explain is err with a Text for its message; pass err in args to show it.
func Explain(err error, format string, args ...any) error {
	return &explained{Say(format, args...), err}
}

func (e *explained) Error() string { return e.String() }
func (e *explained) Unwrap() error { return e.err }
