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

// Bounds of one exchange over the socket. Those who ask are trusted, but may hang.
const (
	readTimeout   = 5 * time.Second
	answerTimeout = 2 * time.Minute // a refresh waits for its issuers
	stopTimeout   = 2 * time.Second
)

// Serve answers on the listener until ctx is done, and closes it. A question
// that is being answered then has two more seconds. Each connection serves for one
// question, and at most 64 are open at once, or a quarter of the process's descriptors.
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

func routes(answers Answers) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		statuses, err := answers.Status(r.Context(), names(r)...)
		answer(w, statuses, err)
	})
	mux.HandleFunc("POST /refresh", func(w http.ResponseWriter, r *http.Request) {
		statuses, err := answers.Refresh(r.Context(), names(r)...)
		answer(w, statuses, err)
	})
	mux.HandleFunc("GET /leftovers", func(w http.ResponseWriter, r *http.Request) {
		leftovers, err := answers.Leftovers(r.Context())
		answer(w, leftovers, err)
	})
	mux.HandleFunc("GET /refused", func(w http.ResponseWriter, r *http.Request) {
		answer(w, answers.Refused(), nil)
	})
	mux.HandleFunc("GET /heartbeat", func(w http.ResponseWriter, r *http.Request) {
		answer(w, answers.Heartbeat(), nil)
	})
	mux.HandleFunc("GET /configuration", func(w http.ResponseWriter, r *http.Request) {
		answer(w, answers.Follows(), nil)
	})
	mux.HandleFunc("POST /reload", func(w http.ResponseWriter, r *http.Request) {
		replaced, err := answers.Reload(r.Context())
		answer(w, replaced, err)
	})
	return mux
}

func names(r *http.Request) []string { return r.URL.Query()["name"] }

// timeoutBody is what http.TimeoutHandler says with its 503.
const timeoutBody = `{"text":"the agent gave no verdict within two minutes; it goes on trying"}`

// answer writes what was found, or a Refusal with the status that fits it.
func answer(w http.ResponseWriter, found any, err error) {
	status := http.StatusOK
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		status, found = http.StatusUnprocessableEntity, refusal
	} else if err != nil {
		status, found = http.StatusInternalServerError, Refusal{Text: err.Error()}
	}
	text, err := json.Marshal(found)
	if err != nil {
		status, text = http.StatusInternalServerError, []byte(`{"text":"the answer is no JSON"}`)
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(text)
	io.WriteString(w, "\n")
}
