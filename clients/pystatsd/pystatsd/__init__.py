"""The import path of pystatsd's agent, for tallyd's client.

Programs that were written for pystatsd run unchanged::

    from pystatsd.pystatsagent import PystatAgent
"""

__version__ = "2.0.0"
