// Package queue decides which job may start now. Callers tell it the time. It neither logs
// nor sleeps nor reads a clock.
//
// A [Job] is done again and again. When it is due it waits in its [Queue]. There is a Queue
// for each thing that can be slow: an issuer, a folder, a local source. The most urgent job
// starts first, a few at a time in each Queue, so one that hangs delays only its own Queue.
// The Queue of an issuer also keeps a pace, obeys Retry-After, and starts one job at a time
// while the issuer does not answer. A [Pool] has all Queues, and limits how many jobs run.
//
// A caller loops: it handles [Pool.Hangs] and [Pool.Blocked], enqueues what [Pool.NextDue]
// returns until that is nil, starts what [Pool.Start] returns until that is nil, and sleeps
// for [Pool.Wait].
package queue
