// Package metrics sends metrics to tallyd using only the standard library. Copy it into your program.
package metrics

import (
	"encoding/json"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// The payload of an Ethernet frame. A longer datagram is fragmented, and is lost if any fragment is
// lost.
const maxDatagram = 1432

// The maximum number of queued messages; when the queue is full, further ones are dropped.
const queueLength = 4096

// Tags of a message. A value is a string, a number or a boolean.
type Tags map[string]any

// Client sends messages. Its methods may be called by any number of goroutines; none of them blocks,
// and none fails.
type Client struct {
	socket  *net.UDPConn
	to      *net.UDPAddr
	queue   chan []byte
	stop    chan struct{}
	stopped sync.WaitGroup
	once    sync.Once
	dropped uint64
}

// New creates a client that sends to a HOST:PORT. The name is resolved once, here.
func New(address string) (*Client, error) {
	to, err := net.ResolveUDPAddr("udp", address)
	if err != nil {
		return nil, err
	}
	// Not net.Dial: when no process listens, the kernel reports that to a connected socket by failing
	// the next send, so the first datagram after a restart of the daemon would be lost.
	socket, err := net.ListenUDP("udp", nil)
	if err != nil {
		return nil, err
	}
	client := &Client{
		socket: socket,
		to:     to,
		queue:  make(chan []byte, queueLength),
		stop:   make(chan struct{}),
	}
	client.stopped.Add(1)
	go client.run()
	return client, nil
}

// Counter adds to a counter.
func (c *Client) Counter(name string, count float64, tags Tags) {
	c.send(message{Name: name, Type: "counter", Count: &count, Tags: tags})
}

// Gauge sets a level.
func (c *Client) Gauge(name string, value float64, tags Tags) {
	c.send(message{Name: name, Type: "gauge", Value: value, Tags: tags})
}

// GaugeDelta changes a level, by sending text with a sign.
func (c *Client) GaugeDelta(name string, change float64, tags Tags) {
	c.send(message{Name: name, Type: "gauge", Value: fmt.Sprintf("%+g", change), Tags: tags})
}

// Timer records a duration, in milliseconds.
func (c *Client) Timer(name string, took time.Duration, tags Tags) {
	c.send(message{Name: name, Type: "timer", Value: took.Seconds() * 1000, Tags: tags})
}

// Set records a member of a set, whose distinct members are counted.
func (c *Client) Set(name, member string, tags Tags) {
	c.send(message{Name: name, Type: "set", Value: member, Tags: tags})
}

// Trace counts how often exactly these tags occurred.
func (c *Client) Trace(name string, tags Tags) {
	c.send(message{Name: name, Type: "trace", Tags: tags})
}

// Dropped returns the number of messages that could not be sent.
func (c *Client) Dropped() uint64 { return atomic.LoadUint64(&c.dropped) }

// Close sends the queued messages and ends the client. Messages recorded afterwards are dropped.
func (c *Client) Close() {
	c.once.Do(func() { close(c.stop) })
	c.stopped.Wait()
}

// Tags are a separate member of a message, so that they may be called like one of its keys.
type message struct {
	Name  string   `json:"metric_name"`
	Type  string   `json:"metric_type"`
	Count *float64 `json:"count,omitempty"`
	Value any      `json:"value,omitempty"`
	Tags  Tags     `json:"tags,omitempty"`
}

func (c *Client) send(message message) {
	line, err := json.Marshal(message) // fails for NaN, or a tag without a JSON representation
	if err != nil {
		c.drop(1)
		return
	}
	select {
	case c.queue <- line:
	default:
		c.drop(1)
	}
}

func (c *Client) drop(messages int) { atomic.AddUint64(&c.dropped, uint64(messages)) }

// Waits for messages, and puts as many queued ones into each datagram as fit.
func (c *Client) run() {
	defer c.stopped.Done()
	defer c.socket.Close()
	for {
		select {
		case line := <-c.queue:
			c.flush(line)
		case <-c.stop:
			select {
			case line := <-c.queue:
				c.flush(line)
			default:
				return
			}
		}
	}
}

func (c *Client) flush(datagram []byte) {
	messages := 1
	for {
		select {
		case line := <-c.queue:
			if len(datagram)+1+len(line) > maxDatagram {
				c.write(datagram, messages)
				datagram, messages = line, 1
				continue
			}
			datagram = append(append(datagram, '\n'), line...)
			messages++
		default:
			c.write(datagram, messages)
			return
		}
	}
}

func (c *Client) write(datagram []byte, messages int) {
	if _, err := c.socket.WriteToUDP(datagram, c.to); err != nil {
		c.drop(messages)
	}
}
