package host

import "context"

// A Call is a call that may never return, such as one into a file system whose server is gone.
// Nothing can end it. A caller that has given up must not touch what the call still uses.
type Call[T any] struct {
	done  chan struct{}
	value T
}

// Begin calls f on another goroutine.
func Begin[T any](f func() T) *Call[T] {
	c := &Call[T]{done: make(chan struct{})}
	go func() {
		defer close(c.done)
		c.value = f()
	}()
	return c
}

// Await is Begin and Wait.
func Await[T any](ctx context.Context, f func() T) (value T, returned bool) {
	return Begin(f).Wait(ctx)
}

// Wait waits for the call until ctx is done. It may be called again.
func (c *Call[T]) Wait(ctx context.Context) (value T, returned bool) {
	select {
	case <-c.done:
		return c.value, true
	default:
	}
	select {
	case <-c.done:
		return c.value, true
	case <-ctx.Done():
		return value, false
	}
}

// Late calls late with what the call returns, if it returns.
func (c *Call[T]) Late(late func(T)) {
	go func() {
		<-c.done
		late(c.value)
	}()
}
