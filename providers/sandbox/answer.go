package sandbox

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
)

// answer is what a call is answered with, not written yet.
type answer struct {
	status int
	header http.Header
	body   []byte
}

func answerOf(status int, contentType string, body []byte) answer {
	header := http.Header{}
	header.Set("Content-Type", contentType)
	return answer{status: status, header: header, body: body}
}

// jsonAnswer is body as compact JSON, `<` and `&` left as they are.
func jsonAnswer(status int, body any) answer {
	var text bytes.Buffer
	encoder := json.NewEncoder(&text)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(body); err != nil {
		panic(fmt.Errorf("encoding an answer of the sandbox: %w", err)) // our own types: a bug
	}
	return answerOf(status, "application/json", bytes.TrimSuffix(text.Bytes(), []byte("\n")))
}

// gatewayPage is the page that nginx, in front of so many APIs, makes by itself.
func gatewayPage(status int) answer {
	title := fmt.Sprintf("%d %s", status, http.StatusText(status))
	page := "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title +
		"</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
	return answerOf(status, "text/html", []byte(page))
}

// write sends the answer, spoilt as the fault says.
func (a answer) write(w http.ResponseWriter, fault Fault) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if fault.RetryAfter != "" {
		w.Header().Set("Retry-After", fault.RetryAfter)
	}
	for name, value := range fault.Header {
		w.Header().Set(name, value)
		if value == "" {
			w.Header()[name] = nil // else net/http sends a Date of its own
		}
	}
	body := a.body
	if fault.Edit != nil {
		body = fault.Edit(body)
	}
	if fault.Empty {
		body = nil
	}
	length := len(body)
	if fault.Truncated {
		body = body[:length/2]
		if !fault.Drop {
			length = len(body)
		}
	}
	w.Header().Set("Content-Length", strconv.Itoa(length))
	w.WriteHeader(a.status)
	if _, err := w.Write(body); err != nil {
		return // the client left; there is nobody to tell
	}
	if fault.Drop {
		// What was written must be on the wire before the connection ends; that
		// this fails means that the client left first.
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}
}
