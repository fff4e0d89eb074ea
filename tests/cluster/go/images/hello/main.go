// An ordinary program for an ordinary image: serves HTTP on port 8080, and is its own shell for `kubectl exec`.
//
//	GET /                 hello from HOST
//	GET /resolve?name=N   the addresses of N, by the pod's own resolver
//	GET /fetch?url=U      what U answers, asked from within the pod
//	hello say WORD…       prints the words
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"time"
)

// No answer within a cluster of one node takes longer.
const patience = 5 * time.Second

func main() {
	if len(os.Args) > 1 && os.Args[1] == "say" {
		fmt.Println(strings.Join(os.Args[2:], " "))
		return
	}
	http.HandleFunc("/{$}", greet)
	http.HandleFunc("/resolve", resolve)
	http.HandleFunc("/fetch", fetch)
	log.Print("serving on port 8080")
	log.Fatal(http.ListenAndServe(":8080", nil))
}

func greet(answer http.ResponseWriter, request *http.Request) {
	host, err := os.Hostname()
	if err != nil {
		http.Error(answer, err.Error(), http.StatusInternalServerError)
		return
	}
	log.Printf("greeted %s", request.RemoteAddr)
	fmt.Fprintf(answer, "hello from %s\n", host)
}

func resolve(answer http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithTimeout(request.Context(), patience)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, request.FormValue("name"))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadGateway)
		return
	}
	fmt.Fprintln(answer, strings.Join(addresses, "\n"))
}

func fetch(answer http.ResponseWriter, request *http.Request) {
	client := http.Client{Timeout: patience}
	fetched, err := client.Get(request.FormValue("url"))
	if err != nil {
		http.Error(answer, err.Error(), http.StatusBadGateway)
		return
	}
	defer fetched.Body.Close()
	answer.WriteHeader(fetched.StatusCode)
	if _, err := io.Copy(answer, fetched.Body); err != nil {
		log.Printf("%s broke off: %v", request.FormValue("url"), err)
	}
}
