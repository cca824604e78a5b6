// Package queue decides who may start now. It is told the times, and neither logs nor
// sleeps nor reads a clock: what it answers depends on what it was told.
//
// A [Job] is done again and again. When its time has come it waits in its [Queue], which
// stands before one thing that can be slow: an issuer, a folder, a source of its own. The
// most urgent starts first, a few at a time in each Queue, so that what hangs holds up
// nothing but its own. The Queue of an issuer keeps a pace as well, obeys Retry-After,
// and lets one job at a time try while the issuer does not answer. A [Pool] has all
// Queues, and limits how many jobs run at a time.
//
// A caller goes round: [Pool.Hangs] and [Pool.Blocked], [Pool.NextDue] until it is nil,
// each of which it enqueues, [Pool.Start] until it is nil, then it sleeps for [Pool.Wait].
package queue
