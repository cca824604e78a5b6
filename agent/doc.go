// Package agent keeps tokens fresh. It decides and waits. It knows no file, socket or syntax.
//
// A [Source] issues a [Token] for a [Request]; a [Sink] puts it where its
// readers look; a [Schedule] says when the next is due; a [Renewer] ties them
// together; an [Agent] keeps a set of Renewers going, never gives one up, and
// swaps only those whose definition changed. A [Secret] is the text of a token that no log,
// error or metric can show.
package agent
