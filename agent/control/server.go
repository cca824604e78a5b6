package control

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"time"
)

// Bounds of one exchange over the socket. Callers are trusted, but may hang.
const (
	readTimeout   = 5 * time.Second
	answerTimeout = 2 * time.Minute // a refresh waits for its issuers
	stopTimeout   = 2 * time.Second
)

// Serve answers on the listener until ctx is done, and closes it. Answers that are on their
// way then get two more seconds. Each connection is for one question. At most 64 are open
// at once, or a quarter of the process's descriptors.
func Serve(ctx context.Context, l net.Listener, answers Answers) error {
	server := &http.Server{
		Handler:           heard(http.TimeoutHandler(routes(answers), answerTimeout, timeoutBody)),
		ConnContext:       withConnection,
		ReadHeaderTimeout: readTimeout,
		ReadTimeout:       readTimeout,
		WriteTimeout:      answerTimeout + readTimeout,
	}
	server.SetKeepAlivesEnabled(false)
	stopped := make(chan struct{})
	defer context.AfterFunc(ctx, func() {
		defer close(stopped)
		stop(server)
	})()
	if err := server.Serve(withRoom(l, roomFor())); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	<-stopped
	return nil
}

func stop(server *http.Server) {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	if server.Shutdown(ctx) != nil {
		server.Close()
	}
}

func routes(a Answers) http.Handler {
	mux := http.NewServeMux()
	for pattern, found := range map[string]func(*http.Request) (any, error){
		"GET /status":        func(r *http.Request) (any, error) { return a.Status(r.Context(), names(r)...) },
		"POST /refresh":      func(r *http.Request) (any, error) { return a.Refresh(r.Context(), names(r)...) },
		"GET /leftovers":     func(r *http.Request) (any, error) { return a.Leftovers(r.Context()) },
		"GET /refused":       func(*http.Request) (any, error) { return a.Refused(), nil },
		"GET /heartbeat":     func(*http.Request) (any, error) { return a.Heartbeat(), nil },
		"GET /configuration": func(*http.Request) (any, error) { return a.Follows(), nil },
		"POST /keep":         func(r *http.Request) (any, error) { return true, a.Keep(r.Context()) },
		"POST /reload":       func(r *http.Request) (any, error) { return a.Reload(r.Context()) },
	} {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
			what, err := found(r)
			answer(w, what, err)
		})
	}
	return mux
}

func names(r *http.Request) []string { return r.URL.Query()["name"] }

// timeoutBody is what http.TimeoutHandler says with its 503.
const timeoutBody = `{"text":"the agent has no result after two minutes; it goes on trying"}`

// answer writes what was found, or a Refusal.
func answer(w http.ResponseWriter, found any, err error) {
	status := http.StatusOK
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		status, found = http.StatusUnprocessableEntity, refusal
	} else if err != nil {
		status, found = http.StatusInternalServerError, Refusal{Text: err.Error()}
	}
	text, err := json.Marshal(found)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"text":"the answer cannot be written as JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
	io.WriteString(w, "\n")
}
